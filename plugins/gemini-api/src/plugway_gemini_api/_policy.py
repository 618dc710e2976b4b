"""Tables: how each field of Gemini's requests is treated in translation to the Messages API.

`preserve` copies the field; `translate` is done by the translators; `drop` leaves it out and notes
that on the receipt; `reject` returns a 400, because the client would wait for something that the
reply cannot contain, or would get less than it requires.

Fields: `GenerateContentRequest` and `GenerationConfig` in https://ai.google.dev/api/generate-content
and the types of the `google-genai` SDK 3.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway_gemini_api._fields import invalid
from plugway_translation import Notes, Rule

_NONE: Final = "the Messages API has none"
_MEDIA: Final = "only text output is supported"

REQUEST: Final[Mapping[str, Rule]] = {
    "cachedContent": Rule(
        "reject", "nothing is stored here under a name; send the contents", ("",)
    ),
    "contents": Rule("translate", "`messages`"),
    "generationConfig": Rule("translate", "see below"),
    "labels": Rule("drop", "labels for Google's billing", ({},)),
    "model": Rule("preserve", "the path names the model"),
    "safetySettings": Rule("drop", "they configure Google's filters", ([],)),
    "serviceTier": Rule("drop", "tiers of Google", ("unspecified", "standard")),
    "store": Rule("drop", "nothing is stored here", (False,)),
    "systemInstruction": Rule("translate", "`system`"),
    "toolConfig": Rule("translate", "`tool_choice`; disallowed tools are left out"),
    "tools": Rule("translate", "functions; tools run by Google are dropped"),
}

GENERATION: Final[Mapping[str, Rule]] = {
    "audioTimestamp": Rule("drop", "the Messages API has no audio", (False,)),
    "audioTranscriptionConfig": Rule("drop", "the Messages API has no audio"),
    "candidateCount": Rule("reject", "only one candidate is supported; send another request", (1,)),
    "enableAffectiveDialog": Rule("drop", "the Messages API has no audio", (False,)),
    "enableEnhancedCivicAnswers": Rule("drop", "Google's own", (False,)),
    "frequencyPenalty": Rule("drop", _NONE, (0,)),
    "imageConfig": Rule("drop", _MEDIA),
    "logprobs": Rule("reject", "log probabilities are not supported", (0,)),
    "maxOutputTokens": Rule("translate", "`max_tokens`; missing: the model's limit, or an option"),
    "mediaResolution": Rule(
        "drop", "only one media resolution is supported", ("MEDIA_RESOLUTION_UNSPECIFIED",)
    ),
    "modelSelectionConfig": Rule("drop", "the gateway chooses the model"),
    "presencePenalty": Rule("drop", _NONE, (0,)),
    "responseFormat": Rule("translate", "as `responseMimeType` and `responseSchema`"),
    "responseJsonSchema": Rule("translate", "`output_config.format`"),
    "responseLogprobs": Rule("reject", "log probabilities are not supported", (False,)),
    "responseMimeType": Rule(
        "translate",
        "JSON without a schema is requested in the prompt, and forced where possible",
    ),
    "responseModalities": Rule("reject", _MEDIA, ([], ["TEXT"], ["text"])),
    "responseSchema": Rule("translate", "`output_config.format`"),
    "routingConfig": Rule("drop", "the gateway chooses the model"),
    "seed": Rule("drop", _NONE + ": answers may differ"),
    "speechConfig": Rule("drop", _MEDIA),
    "stopSequences": Rule("translate", "`stop_sequences`"),
    "temperature": Rule("translate", "values above 1 become 1, the maximum in the Messages API"),
    "thinkingConfig": Rule("translate", "`thinking` and `output_config.effort`"),
    "topK": Rule("translate", "`top_k`"),
    "topP": Rule("translate", "`top_p`"),
    "translationConfig": Rule("drop", "the Messages API has no audio"),
}


def apply(fields: Mapping[str, Any], table: Mapping[str, Rule], notes: Notes, at: str = "") -> None:
    """Note every dropped field, including unknown ones.

    Raises `InvalidRequest` for the first rejected one.
    """
    for name, value in fields.items():
        rule = table.get(name)
        if rule is None:
            notes.add(at + name[:64], "drop", "unknown field")
        elif value in rule.nothing:
            continue
        elif rule.action == "reject":
            raise invalid(at + name, f"it is not supported with this model: {rule.because}")
        elif rule.action == "drop":
            notes.add(at + name, "drop", rule.because)
