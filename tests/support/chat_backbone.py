"""A tiny chat model: its turns end with a token of its template, as it has learnt, never with its tokenizer's EOS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from emgecg_cli.core.models.tiny_backbone import train_tokenizer

REPORT = "sinus rhythm. normal ecg."
GEMMA = ("{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}"
         "\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
         "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}")
CHATML = ("{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
          "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not "
          "enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}")
WORDS = ("{% for m in messages %}### {{ 'Answer' if m['role'] == 'assistant' else 'Question' }}:\n{{ m['content'] }}\n"
         "###\n{% endfor %}{% if add_generation_prompt %}### Answer:\n{% endif %}")
TOKENS = ["<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end|>"]


def make_tokenizer(template: str | dict[str, str] | None = GEMMA, special: bool = True) -> Any:
    """A byte-level tokenizer with the marks of many chat models, each a token; its EOS is "</s>"."""
    tokenizer = train_tokenizer(["Report this ECG.", REPORT, "user", "model", "### Answer:"] * 5, vocabulary=330)
    tokenizer.add_tokens(TOKENS, special_tokens=special)
    tokenizer.chat_template = template
    return tokenizer


def make_chat_model(folder: Path, template: str = GEMMA, prompts: tuple[str, ...] = ("Report this ECG.",),
                    steps: int = 60, **tokens: bool) -> Path:
    """A backbone's folder whose model has learnt turns of that template, one after the other, three in a text."""
    tokenizer = make_tokenizer(template, **tokens)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, initializer_range=0.1))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        turns = [{"role": "user", "content": prompts[step % len(prompts)]}, {"role": "assistant", "content": REPORT}]
        text = tokenizer.apply_chat_template(turns * 3, tokenize=False)
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
