// Reads replies as llama-server does: with its own choice of a parser for a chat template.
//
// One JSON object a line in: `template` (text), `tools` (OpenAI's form), `reply` (what the model wrote).
// One out: `content`, `reasoning`, `calls` ([name, arguments as text]) and `prompt` (what the parser takes
// to stand before the reply), or `error`.
// Built by `tools/build-llama-reader`; used by `tests/e2e/test_peers_readers.py`.

#include "chat.h"
#include "nlohmann/json.hpp"

#include <iostream>
#include <string>

using json = nlohmann::json;

static json read_reply(const json & in) {
    auto templates = common_chat_templates_init(nullptr, in.at("template").get<std::string>());
    common_chat_templates_inputs inputs;
    common_chat_msg user;
    user.role    = "user";
    user.content = "hello";
    inputs.messages            = { user };
    inputs.parallel_tool_calls = true;
    inputs.reasoning_format    = COMMON_REASONING_FORMAT_AUTO;
    for (const auto & tool : in.at("tools")) {
        const auto & function = tool.at("function");
        inputs.tools.push_back({ function.at("name"), function.at("description"), function.at("parameters").dump() });
    }
    auto params = common_chat_templates_apply(templates.get(), inputs);
    common_chat_parser_params parser(params);
    parser.reasoning_format = inputs.reasoning_format;
    if (!params.parser.empty()) {
        parser.parser.load(params.parser);
    }
    json out = { { "prompt", params.generation_prompt } };
    try {
        auto message = common_chat_parse(in.at("reply").get<std::string>(), false, parser);
        out["content"]   = message.content;
        out["reasoning"] = message.reasoning_content;
        out["calls"]     = json::array();
        for (const auto & call : message.tool_calls) {
            out["calls"].push_back({ call.name, call.arguments });
        }
    } catch (const std::exception & error) {
        out["error"] = error.what();
    }
    return out;
}

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        json out;
        try {
            out = read_reply(json::parse(line));
        } catch (const std::exception & error) {
            out = { { "error", error.what() } };
        }
        std::cout << out.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
    }
}
