"""What the model can talk about: one answer per topic, and the sentences that ask for it.

A sentence stands here as the chat template compares it: in small letters, without punctuation and
without polite words around it. The template holds the same list; a test compares the two.
"""

from __future__ import annotations

UNKNOWN = (
    "I only know how to create a file (create hello.txt with the text hi), append a line (now append "
    "a line), show a file (show me hello.txt) and say what Plugway is (what is plugway); for anything "
    "else connect a real model, for example with `plugway models pull`."
)
WHICH_FILE = "Which file do you mean? Please name it."

# answer -> sentences, separated by bars
_TOPICS = {
    "Hello! I am the demo model that ships with Plugway. "
    "Try: create hello.txt with the text hi.": "hi|hello|hey|hi there|hello there|hey there|hello world|howdy|hallo|moin|servus|bonjour|hola|ciao|"
    "good morning|good evening|good afternoon|greetings|say hello|say hi|nice to meet you|are you there|"
    "hello plugway|hello claude|hi claude|guten tag",
    "I am fine, thank you. I am a very small program, so little can go wrong.": "how are you|how are you today|how are you doing|how is it going|hows it going|whats up|how do you do|"
    "how do you feel|are you ok",
    "Plugway is a local gateway between Claude Code and any model. "
    "Everything in it is a plugin: backends, routing, limits and logs.": "what is plugway|whats plugway|plugway|tell me about plugway|explain plugway|describe plugway|"
    "what does plugway do|what is plugway for|what is this plugway|what is this gateway|why plugway|"
    "why should i use plugway|how does plugway work|what can plugway do|do you know plugway|"
    "what is plugway good for|is plugway a model|is plugway a gateway",
    "I am a very small demonstration model that ships with Plugway. "
    "I am here to show that everything works; connect a real model for real work.": "who are you|what are you|who is this|who am i talking to|introduce yourself|describe yourself|"
    "tell me about yourself|what is your name|whats your name|which model are you|what model are you|"
    "which model is this|what model is this|what is this model|which llm are you|what is the demo model|"
    "are you the demo model|are you an ai|are you a bot|are you a real model|are you real|are you human",
    "No. I am not one of the large models; I am the tiny demo model that ships with Plugway.": "are you claude|are you gpt|are you chatgpt|are you gemini|are you opus|are you sonnet|are you haiku|"
    "are you qwen|are you llama|is this claude|is this chatgpt|am i talking to claude|are you claude code|"
    "did anthropic make you|are you from anthropic",
    "I can create a file, append a line, show a file, and say a little about Plugway. "
    "Try: create hello.txt with the text hi.": "help|help me|i need help|can you help me|how can you help me|what can you do|what do you do|what can i do|"
    "what can i ask|what can i ask you|what do you know|what should i ask|what are you able to do|"
    "what else can you do|what are your skills|what now|what next|where do i start|how do i start|"
    "how do i use you|give me an example|show me an example|which sentences do you know|"
    "which tools do you have|what tools do you have|can you write code|can you create files|"
    "can you run commands|can you delete files",
    "Run `plugway models pull` to fetch a local model, or `plugway config example` "
    "to see a configuration with Ollama, LM Studio or Anthropic.": "how do i connect a real model|how can i connect a real model|how to connect a real model|"
    "connect a real model|how do i use a real model|how do i add a model|how do i get a real model|"
    "how do i connect a model|how do i connect another model|how do i use another model|"
    "how do i switch the model|how do i change the model|change the model|switch the model|"
    "which models can i use|which models are there|which models does plugway support|what is a real model|"
    "how do i get a better model|can i use another model|where do i get a real model",
    "Add an Ollama block to the configuration: `plugway config example` shows one. "
    "Ollama listens on http://127.0.0.1:11434.": "how do i use ollama|how do i connect ollama|can i use ollama|what about ollama|"
    "does plugway support ollama|connect ollama|use ollama|how do i use ollama with plugway",
    "Add an LM Studio block to the configuration: `plugway config example` shows one. "
    "LM Studio listens on http://127.0.0.1:1234.": "how do i use lm studio|how do i connect lm studio|can i use lm studio|what about lm studio|"
    "does plugway support lm studio|connect lm studio|use lm studio",
    "Add an Anthropic block with your API key to the configuration: "
    "`plugway config example` shows one.": "how do i use claude|how do i connect claude|how do i use anthropic|how do i connect anthropic|"
    "can i use claude|can i use anthropic|what about anthropic|how do i use my api key|"
    "where do i put my api key|does plugway support anthropic",
    "Any OpenAI-compatible server works: give its address in an openai block. "
    "`plugway config example` shows one.": "how do i use openai|how do i connect openai|how do i use vllm|how do i connect vllm|can i use openai|"
    "can i use vllm|what about openai|what about vllm|does plugway support openai|does plugway support vllm",
    "`plugway models pull ORG/REPO:QUANT` downloads a GGUF model from Hugging Face; "
    "then name it in the configuration.": "how do i download a model|how do i pull a model|how do i get a gguf model|"
    "what does plugway models pull do|where do models come from|what is gguf",
    "You are welcome.": "thanks|thank you|thank you very much|thanks a lot|many thanks|thx|ty|danke|merci|gracias|cheers|"
    "ok thanks|great thanks|thanks for your help|thank you for your help",
    "Goodbye!": "bye|goodbye|good bye|bye bye|see you|see you later|good night|farewell|tschüss|take care",
    "Good. Tell me if there is something else.": "ok|okay|good|great|nice|cool|perfect|fine|super|excellent|well done|good job|very good|yes|got it|i see|"
    "understood|wow|it works|that works|that worked",
    "All right, I do nothing.": "no|nope|never mind|nevermind|stop|cancel|forget it|no thanks|no thank you|do nothing|wait|abort|nothing",
    "It works: your request came through Plugway and this tiny model answered it.": "test|testing|this is a test|ping|does it work|does this work|is it working|is this working|"
    "are you working|do you work|are you alive|are you online|can you hear me|say something|"
    "does plugway work|is plugway working",
    "I have about four million parameters, thousands of times fewer than a real model. "
    "I was trained on a CPU on generated text.": "how big are you|how large are you|how small are you|how many parameters do you have|"
    "how were you trained|who trained you|who made you|who built you|who created you|where do you come from|"
    "what is your context window|what is your knowledge cutoff",
    "Because I am a tiny demo model with a narrow training. Connect a real model for real work.": "why are you so stupid|why are you so dumb|why are you so small|why are you so limited|why not|"
    "why cant you do that|why dont you know|are you stupid|are you smart|is that all|"
    "is that all you can do|you are stupid|you know nothing",
    "No. I run on this machine, without network, and send nothing anywhere.": "do you use the internet|do you need the internet|do you send my data|is my data sent anywhere|"
    "where do you run|is this local|are you local|do you run locally|do you work offline|is this private|"
    "is this free|what does it cost|can you search the web|can you browse the web",
    "A plugin is a Python package that adds one feature to Plugway. "
    "`plugway new NAME` starts one from a template.": "what is a plugin|what are plugins|how do plugins work|how do i write a plugin|which plugins are there|"
    "how do i add a plugin|how do i make a plugin|tell me about plugins",
    "`plugway check` validates the configuration, and `plugway config example` prints one to start "
    "from.": "where is the configuration|where is the config|how do i configure plugway|how do i set up plugway|"
    "how do i check the configuration|how do i check my config|what does plugway check do|show me a configuration",
    "`plugway serve` starts the gateway, and `plugway claude` starts Claude Code with it.": "how do i start plugway|how do i run plugway|how do i use plugway|how do i start the gateway|"
    "how do i start claude code|how do i connect claude code|what does plugway serve do|"
    "what does plugway claude do",
    "`plugway doctor` looks for problems, and `plugway logs` shows what happened.": "it does not work|it doesnt work|something is wrong|i have a problem|plugway does not work|"
    "how do i debug plugway|where are the logs|what does plugway doctor do|why does it not work",
    "I know only one: my memory is so short that I forget jokes before the": "tell me a joke|tell a joke|joke|make me laugh|do you know a joke|another joke",
}
TOPICS: dict[str, list[str]] = {answer: text.split("|") for answer, text in _TOPICS.items()}
