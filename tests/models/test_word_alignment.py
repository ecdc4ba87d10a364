"""Signal tokens that should lie near the words of their report."""

from __future__ import annotations

import torch

from emgecg_cli.core.models.word_alignment import WordAlignment, content_words


def alignment(vocabulary: int = 50, width: int = 16) -> tuple[WordAlignment, torch.Tensor]:
    torch.manual_seed(0)
    embeddings = torch.randn(vocabulary, width) + 3.0
    shares = torch.zeros(vocabulary)
    shares[10:20] = 0.2
    shares[5] = 0.99
    return WordAlignment(embeddings, shares), embeddings


def test_words_of_nearly_all_or_of_hardly_any_report_are_no_content_words() -> None:
    assert content_words(torch.tensor([0.0, 0.003, 0.004, 0.3, 0.6, 0.61, 1.0])).tolist() == [2, 3, 4]


def test_the_words_of_an_answer_are_found_and_nothing_else() -> None:
    model, _ = alignment()
    labels = torch.tensor([[-100, 5, 10, 10, 12], [-100, -100, 19, 49, 0]])
    assert model.held(labels).nonzero().tolist() == [[0, 0], [0, 2], [1, 9]]


def test_a_token_that_lies_where_the_word_does_names_it_whatever_its_length_and_beside_others() -> None:
    model, embeddings = alignment()
    word = embeddings[12] - embeddings.mean(0)
    other = embeddings[17] - embeddings.mean(0)
    for tokens in (torch.stack([word, other])[None], torch.stack([0.1 * other, 100 * word])[None]):
        assert set(model.logits(tokens)[0].topk(2).indices.tolist()) == {2, 7}


def test_a_token_that_is_not_real_names_nothing() -> None:
    model, embeddings = alignment()
    words = (embeddings[[12, 17]] - embeddings.mean(0))[None]
    alone, padded = model.logits(words[:, :1]), model.logits(words, torch.tensor([[True, False]]))
    torch.testing.assert_close(alone, padded)


def test_tokens_learn_the_words_of_their_reports() -> None:
    model, _ = alignment()
    labels = torch.tensor([[10, 12], [15, 19], [11, 12]])
    tokens = torch.randn(3, 4, 16, requires_grad=True)
    optimizer = torch.optim.Adam([tokens, *model.parameters()], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        model(tokens, labels).backward()
        optimizer.step()
    assert torch.equal(model.logits(tokens) > 0, model.held(labels) > 0)
