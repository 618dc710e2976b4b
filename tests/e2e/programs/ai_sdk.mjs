// A loop of the AI SDK. Arguments: the provider, `streamText` or `generateText`, and the prompt.
import { execSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const [name, how, prompt] = process.argv.slice(2);
const baseURL = "http://127.0.0.1:8484/v1";
const apiKey = process.env.PLUGWAY_TOKEN;
const openai = createOpenAI({ baseURL, apiKey }); // the Responses API
const compatible = createOpenAICompatible({ name: "plugway", baseURL, apiKey }); // Chat Completions
const anthropic = createAnthropic({ baseURL, authToken: apiKey }); // the Messages API
const model = { openai, compatible, anthropic }[name]("anthropic/local/demo");
const tools = {
  write_file: tool({
    description: "Write a file",
    inputSchema: z.object({ path: z.string(), content: z.string() }),
    execute: async ({ path, content }) => {
      writeFileSync(path, content);
      return { written: content.length };
    },
  }),
  run_command: tool({
    description: "Run a command",
    inputSchema: z.object({ command: z.string(), why: z.string().optional() }),
    execute: async ({ command }) => execSync(command, { encoding: "utf8" }),
  }),
};
const asked = { model, tools, prompt, stopWhen: isStepCount(5) };
const result = how === "streamText" ? streamText(asked) : await generateText(asked);
console.log(await result.text);
const usage = await result.usage;
console.log(`finished: ${await result.finishReason}, output tokens: ${usage.outputTokens}`);
