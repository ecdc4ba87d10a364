"""The language models of the Hugging Face hub that have a short name here. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """A language model on the Hugging Face hub: its id, how many parameters it has, and whether its licence must be
    accepted there first."""

    hub_id: str
    parameters: int
    gated: bool = False


# name -> where a language model lies on the Hugging Face hub; any folder or hub id works as well, without a line here
BACKBONES = {
    "tiny": Backbone("", 0),  # built from sizes, trained from scratch
    # MEIT's twelve, in the order of its tables; GPT-Neo in the size its scripts name as well
    "gpt2-medium": Backbone("openai-community/gpt2-medium", 354_823_168),
    "gpt2-large": Backbone("openai-community/gpt2-large", 774_030_080),
    "gpt-neo-1.3b": Backbone("EleutherAI/gpt-neo-1.3B", 1_315_575_808),
    "gpt-neo-2.7b": Backbone("EleutherAI/gpt-neo-2.7B", 2_651_307_520),
    "gpt-neox-20b": Backbone("EleutherAI/gpt-neox-20b", 20_554_567_680),
    "gpt-j-6b": Backbone("EleutherAI/gpt-j-6B", 6_050_882_784),
    "bloom-7b1": Backbone("bigscience/bloom-7b1", 7_069_016_064),
    "opt-6.7b": Backbone("facebook/opt-6.7b", 6_658_473_984),
    "llama-1-7b": Backbone("huggyllama/llama-7b", 6_738_415_616),
    "mistral-7b": Backbone("mistralai/Mistral-7B-v0.1", 7_241_732_096),
    "llama-2-7b": Backbone("meta-llama/Llama-2-7b-hf", 6_738_415_616, gated=True),
    "llama-2-7b-chat": Backbone("meta-llama/Llama-2-7b-chat-hf", 6_738_415_616, gated=True),
    "mistral-7b-instruct": Backbone("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096),
    "llama-3-8b": Backbone("meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248, gated=True),
    # its scaling and its encoder-decoder tables
    "llama-2-13b": Backbone("meta-llama/Llama-2-13b-hf", 13_015_864_320, gated=True),
    "llama-2-13b-chat": Backbone("meta-llama/Llama-2-13b-chat-hf", 13_015_864_320, gated=True),
    "llama-2-70b": Backbone("meta-llama/Llama-2-70b-hf", 68_976_648_192, gated=True),
    "llama-2-70b-chat": Backbone("meta-llama/Llama-2-70b-chat-hf", 68_976_648_192, gated=True),
    "bart-large": Backbone("facebook/bart-large", 406_291_456),
    "t5-large": Backbone("google-t5/t5-large", 737_668_096),
    # other papers on reports from signals
    "chinese-alpaca-2-7b": Backbone("hfl/chinese-alpaca-2-7b", 6_929_256_448),
    "vicuna-7b": Backbone("lmsys/vicuna-7b-v1.5", 6_738_415_616),
    # current ones
    "smollm2-135m": Backbone("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    "smollm2-360m": Backbone("HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120),
    "smollm2-1.7b": Backbone("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384),
    "qwen3-0.6b": Backbone("Qwen/Qwen3-0.6B", 596_049_920),
    "qwen3-1.7b": Backbone("Qwen/Qwen3-1.7B", 1_720_574_976),
    "qwen3-8b": Backbone("Qwen/Qwen3-8B", 8_190_735_360),
    "qwen3-32b": Backbone("Qwen/Qwen3-32B", 32_762_123_264),
    "gemma-3-270m": Backbone("google/gemma-3-270m-it", 268_098_176, gated=True),
    "gemma-3-1b": Backbone("google/gemma-3-1b-it", 999_885_952, gated=True),
    "phi-4-mini": Backbone("microsoft/Phi-4-mini-instruct", 3_836_021_760),
    "llama-3.2-1b": Backbone("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, gated=True),
    "llama-3.2-3b": Backbone("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824, gated=True),
    "llama-3.1-8b": Backbone("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, gated=True),
    "llama-3.1-70b": Backbone("meta-llama/Llama-3.1-70B-Instruct", 70_553_706_496, gated=True),
    "qwen1.5-moe-a2.7b": Backbone("Qwen/Qwen1.5-MoE-A2.7B-Chat", 14_315_784_192),
    "qwen3-30b-a3b": Backbone("Qwen/Qwen3-30B-A3B-Instruct-2507", 30_532_122_624),
    "mixtral-8x7b": Backbone("mistralai/Mixtral-8x7B-Instruct-v0.1", 46_702_792_704),
    "gemma-2-2b": Backbone("google/gemma-2-2b-it", 2_614_341_888, gated=True),
    "gemma-2-9b": Backbone("google/gemma-2-9b-it", 9_241_705_984, gated=True),
    "olmo-2-1b": Backbone("allenai/OLMo-2-0425-1B-Instruct", 1_484_916_736),
    "olmo-2-7b": Backbone("allenai/OLMo-2-1124-7B-Instruct", 7_298_617_344),
    "granite-3.3-2b": Backbone("ibm-granite/granite-3.3-2b-instruct", 2_533_539_840),
    "granite-3.3-8b": Backbone("ibm-granite/granite-3.3-8b-instruct", 8_170_864_640),
    "smollm3-3b": Backbone("HuggingFaceTB/SmolLM3-3B", 3_075_098_624),
    "glm-4-9b": Backbone("zai-org/GLM-4-9B-0414", 9_400_279_040),
    "ministral-8b": Backbone("mistralai/Ministral-8B-Instruct-2410", 8_019_808_256, gated=True),
    "gpt-oss-20b": Backbone("openai/gpt-oss-20b", 20_914_757_184),
    "phi-2": Backbone("microsoft/phi-2", 2_779_683_840),
    "falcon-7b": Backbone("tiiuae/falcon-7b-instruct", 6_921_720_704),
    "stablelm-2-1.6b": Backbone("stabilityai/stablelm-2-zephyr-1_6b", 1_644_515_328),
    "command-r7b": Backbone("CohereLabs/c4ai-command-r7b-12-2024", 8_028_033_024, gated=True),
}
