// The browser of reports on a score page: a list that can be searched, filtered, sorted and walked by keyboard.
// Its state is in the address after #, so that a view can be kept and sent.
"use strict";
(() => {
  const browser = document.querySelector(".browser");
  const form = browser.querySelector(".controls");
  const list = browser.querySelector("[role=listbox]");
  const count = form.querySelector("output");
  const records = [...browser.querySelectorAll("article")].map((article, place) => ({
    article, place, ...JSON.parse(article.dataset.record),
    text: article.querySelector(".texts").textContent.toLowerCase(),
  }));
  const fields = [...form.elements].filter((field) => field.name);
  const start = Object.fromEntries(fields.map((field) => [field.name, field.value]));
  let shown = [], selected = null;

  const chosen = (name) => (form.elements[name] ? form.elements[name].value : "");
  const facts = (record) => record.systems[chosen("system") || Object.keys(record.systems)[0]];

  function states(record, statement, where) {
    const own = facts(record);
    const places = where === "any" ? ["both", "missing", "extra"] : [where];
    return places.some((place) => own[place].includes(statement));
  }

  function fits(record) {
    const words = chosen("q").toLowerCase().split(/\s+/).filter(Boolean);
    const within = record.id.toLowerCase() + " " + record.text;
    return words.every((word) => within.includes(word))
      && (!chosen("statement") || states(record, chosen("statement"), chosen("where")))
      && (!chosen("only") || facts(record)[chosen("only")] > 0);
  }

  function order(one, other) {
    const by = chosen("sort");
    let difference = 0;
    if (by.startsWith("score:")) {
      const value = (record) => facts(record).scores[by.slice(6)] ?? Infinity;
      difference = value(one) === value(other) ? 0 : value(one) - value(other);
    } else if (by) {
      difference = facts(other)[by] - facts(one)[by];
    }
    return difference || one.place - other.place;
  }

  function row(record) {
    const item = document.createElement("li"), small = document.createElement("small");
    const own = facts(record), by = chosen("sort").slice(6) || Object.keys(own.scores)[0];
    item.setAttribute("role", "option");
    item.id = "record" + record.place;
    item.append(record.id, small);
    const said = [own.differs === 1 ? "1 difference" : `${own.differs} differences`];
    if (by in own.scores) said.push(`${by} ${own.scores[by].toFixed(2)}`);
    small.append(said.join(" · "));
    if (own.contradicted) {
      const mark = document.createElement("b");
      mark.append(` ✗ ${own.contradicted} contradicted`);
      small.append(mark);
    }
    item.addEventListener("click", () => select(record));
    record.item = item;
    return item;
  }

  function select(record, scroll) {
    selected = record;
    for (const one of records) {
      one.article.hidden = one !== record;
      if (one.item) one.item.setAttribute("aria-selected", String(one === record));
    }
    if (record) {
      list.setAttribute("aria-activedescendant", record.item.id);
      const top = record.item.offsetTop - list.offsetTop, bottom = top + record.item.offsetHeight;
      if (top < list.scrollTop) list.scrollTop = top;
      if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
      if (scroll && form.getBoundingClientRect().bottom < 0) browser.querySelector(".panes").scrollIntoView();
    } else {
      list.removeAttribute("aria-activedescendant");
    }
    keep();
  }

  function show() {
    shown = records.filter(fits).sort(order);
    list.replaceChildren(...shown.map(row));
    count.textContent = shown.length === records.length ? `${shown.length} records.`
      : `${shown.length} of ${records.length} records.`;
    select(shown.includes(selected) ? selected : shown[0] || null);
  }

  function move(step) {
    const at = shown.indexOf(selected) + step;
    if (at >= 0 && at < shown.length) select(shown[at], true);
  }

  function keep() {
    const state = new URLSearchParams();
    for (const field of fields) if (field.value !== start[field.name]) state.set(field.name, field.value);
    if (selected && selected !== shown[0]) state.set("record", selected.id);
    const hash = state.toString();
    if (hash === location.hash.slice(1)) return;
    try {
      history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
    } catch { /* inside a frame that has no address of its own: the view is not kept */ }
  }

  function atSection() { return location.hash.startsWith("#part-"); }

  function restore() {
    const state = new URLSearchParams(atSection() ? "" : location.hash.slice(1));
    for (const field of fields) field.value = state.get(field.name) ?? start[field.name];
    for (const field of fields) if (field.selectedIndex === -1) field.value = start[field.name];
    selected = records.find((record) => record.id === state.get("record")) || null;
    show();
    if (state.size) browser.scrollIntoView();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, select, textarea");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      if (event.key === "Enter" && event.target.name === "q") { event.preventDefault(); list.focus(); }
      return;
    }
    // Elsewhere arrows scroll: up and down the page, left and right wide tables and drawings.
    const across = browser.contains(event.target) && !event.target.closest(".scroll, figure");
    const down = list.contains(event.target);
    const steps = { j: 1, k: -1, ArrowDown: down && 1, ArrowUp: down && -1, ArrowRight: across && 1,
      ArrowLeft: across && -1 };
    if (event.key === "/") form.elements.q.focus();
    else if (steps[event.key]) move(steps[event.key]);
    else return;
    event.preventDefault();
  });
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => { if (!atSection()) restore(); });

  form.hidden = false;
  list.parentElement.hidden = false;
  browser.querySelector(".panes").classList.add("ready");
  restore();
})();
