// The AI SDK's default client with the tools that the demonstration model knows. Arguments: the prompt.
import { writeFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, isStepCount, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({
  baseURL: "http://127.0.0.1:8484/v1",
  apiKey: process.env.PLUGWAY_TOKEN,
});
const tools = {
  Write: tool({
    description: "Write a file",
    inputSchema: z.object({ file_path: z.string(), content: z.string() }),
    execute: async ({ file_path, content }) => {
      writeFileSync(file_path, content);
      return `File created: ${file_path}`;
    },
  }),
};
const [prompt] = process.argv.slice(2);
const model = openai("anthropic/local/demo");
const result = await generateText({ model, tools, prompt, stopWhen: isStepCount(5) });
console.log(result.text);
console.log(`finished: ${result.finishReason}, steps: ${result.steps.length}`);
