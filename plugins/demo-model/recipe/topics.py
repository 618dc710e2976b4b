"""What the model can talk about: one answer per topic, many ways to ask."""

from __future__ import annotations

UNKNOWN = (
    "I do not know that: I am only a tiny demo model that ships with Plugway. "
    "For real answers connect a real model, for example with `plugway models pull`."
)
WHICH_FILE = "Which file do you mean? Please name it."

# answer -> patterns of questions
TOPICS: dict[str, list[str]] = {
    "Hello! I am the demo model that ships with Plugway. "
    "Ask me to create a file or to run a command.": [
        "[hi|hello|hey|hiya|howdy|hallo|yo|good morning|good evening|good afternoon|greetings|"
        "bonjour|hola|moin|servus|salut|ciao|guten tag][| there| again| you| friend| everyone| bot|"
        " claude| plugway| model| world| to you| buddy| assistant]",
        "[nice to meet you|hello, hello|hi hi|hey hey|hello from {W}|hi, i am {W}|"
        "hello, my name is {W}|anybody there|are you there|is anyone there|hello[,|] can you hear "
        "me|"
        "say hello|say hi|say hello to {W}|hi it's me|long time no see|welcome[|back]]",
    ],
    "I am fine, thank you. I am a very small program, so little can go wrong.": [
        "[hi, |hello, |hey, |]how are you[| today| doing| doing today| feeling]",
        "[how is it going|how's it going|how do you do|what's up|whats up|sup|how are things|"
        "are you ok|are you okay|are you well|how do you feel|everything ok|how is your day|"
        "how was your day|all good]",
    ],
    "Plugway is a local gateway between Claude Code and any model. "
    "Everything in it is a plugin: backends, routing, limits and logs.": [
        "[so |ok, |please |]what[ is|'s|s] [this |]plugway[| about| exactly| for| good for]",
        "[tell me|explain|say something|what do you know|what can you tell me][| to me| more] "
        "about plugway",
        "[explain|describe|define|introduce] plugway[| to me| please| in one sentence| briefly]",
        "what does plugway do[| for me]",
        "[why would i|why should i|should i|why do people] use plugway",
        "what is [a|the|this] [gateway|proxy|local gateway]",
        "[how does plugway work|what is plugway's purpose|what kind of [tool|program|software] is "
        "plugway|"
        "plugway?|do you know plugway|have you heard of plugway|is plugway a [proxy|gateway|server|"
        "model]]",
    ],
    "I am a very small demonstration model that ships with Plugway. "
    "I am here to show that everything works; connect a real model for real work.": [
        "[so |and |ok, |hey, |]who are you[| exactly| really| then]",
        "[so |and |ok, |]what are you[| exactly| really| then]",
        "[tell me|say something|talk|tell me more|tell me something][| a bit] about yourself",
        "[which|what] [model|llm|ai|language model] [are you|is this|am i talking to|do you use|is "
        "running|"
        "answers here|do i use here|is behind this]",
        "[introduce yourself|describe yourself|explain yourself|what's your name|what is your name|"
        "who am i talking to|who is this|what model|do you have a name|your name[| please]|"
        "what is this model|what is the demo model|what is this demo model|are you the demo model|"
        "who is answering|which model is this|tell me who you are|tell me what you are]",
        "are you [an ai|a bot|a robot|a real model|a language model|a human|a person|real|a real "
        "person|an llm]",
    ],
    "No. I am not one of the large models; I am the tiny demo model that ships with Plugway.": [
        "are you [claude|claude code|gpt|chatgpt|gpt-4|gpt-5|gemini|gemma|llama|opus|sonnet|haiku|"
        "qwen|"
        "mistral|deepseek|claude opus|claude sonnet|grok|copilot]",
        "is this [claude|gpt|chatgpt|gemini|opus|sonnet|haiku|the real claude|real claude]",
        "[am i talking|do i talk|do i speak] to [claude|gpt|chatgpt|opus|sonnet|gemini]",
        "[did|does] [anthropic|openai|google|meta|mistral] [make|train|build] you",
        "[are you made by|do you come from|were you trained by] [anthropic|openai|google|meta]",
    ],
    "I can create, read and change files, run commands, and say a little about Plugway. "
    "Try: create hello.txt with the text hi.": [
        "[so |and |ok, |hey, |]what can you do[| for me| here| now| exactly]",
        "[help|help me|i need help|can you help me|please help|how can you help me|/help|help!|"
        "what are your skills|what are you able to do|what do you do|what are you good at|"
        "what should i ask|what can i ask[| you]|how do i use you|how does this work|"
        "give me an example|show me an example|what else can you do|what tasks can you do|"
        "what are your capabilities|what now|what next|now what|how do i start|where do i start|"
        "what do you know|which commands do you know|what can i do here|can you do anything]",
        "[can you|do you] [write code|code|program|create files|edit files|run commands|use tools|"
        "write files|read files]",
        "[what|which] tools [do you have|can you use|are there|do you know]",
    ],
    "Run `plugway models pull` to fetch a local model, or `plugway config example` "
    "to see a configuration with Ollama, LM Studio or Anthropic.": [
        "[so |and |ok, |]how [do|can|could|would|should] [i|we|one] "
        "[connect|use|add|set up|get|install|configure|attach|plug in|switch to|run|enable|try] "
        "[a real model|a bigger model|another model|a better model|a different model|a real llm|"
        "real models|other models|a proper model|my own model|a large model|a smarter model|"
        "a stronger model|a local model|an actual model|something better|a good model]"
        "[| here| with plugway| in plugway| to plugway]",
        "[connect|use|add|switch to|give me|i want|i need|i would like|set up] "
        "[a real model|a bigger model|another model|a better model|a different model|a smarter "
        "model]"
        "[| please]",
        "[which models can i use|what models are there|which models does plugway support|"
        "what models can plugway use|change the model|change model|switch model|"
        "how do i change the model|how do i replace you|can i replace you|can i use another model|"
        "can i use a real model|where do i get a real model|what is a real model|"
        "how to connect a real model|how to connect a model|how to add a model|how do i get rid of "
        "you|"
        "can you connect a real model|where can i find a better model|list models|show models]",
    ],
    "Add an Ollama block to the configuration: `plugway config example` shows one. "
    "Ollama listens on http://127.0.0.1:11434.": [
        "[how [do|can|should] [i|we] [use|connect|add|configure|set up] ollama|how to use ollama|"
        "does it work with ollama|can i use ollama|connect ollama|use ollama|what about ollama|"
        "ollama?|is ollama supported|does plugway support ollama|how does ollama work here|"
        "i have ollama|i want to use ollama|set up ollama][| with plugway| here| please]",
    ],
    "Add an LM Studio block to the configuration: `plugway config example` shows one. "
    "LM Studio listens on http://127.0.0.1:1234.": [
        "[how [do|can|should] [i|we] [use|connect|add|configure|set up] [lm studio|lmstudio]|"
        "how to use [lm studio|lmstudio]|does it work with lm studio|can i use [lm studio|"
        "lmstudio]|"
        "connect lm studio|use lm studio|what about [lm studio|lmstudio]|lm studio?|"
        "is lm studio supported|does plugway support lm studio|i have lm studio|"
        "i want to use lm studio|set up lm studio][| with plugway| here| please]",
    ],
    "Add an Anthropic block with your API key to the configuration: "
    "`plugway config example` shows one.": [
        "[how [do|can|should] [i|we] [use|connect|add|configure|set up] [anthropic|claude|the "
        "anthropic api|"
        "my api key|my anthropic key|an api key|opus|sonnet|claude models]|"
        "can i use [claude|anthropic|my api key|opus|sonnet]|connect [claude|anthropic]|"
        "where do i put my [api key|key|anthropic key]|what about [anthropic|claude]|"
        "how to use [anthropic|claude|my api key]|i have an [api key|anthropic key]|"
        "does plugway support [anthropic|claude]|use my anthropic key][| with plugway| here| "
        "please]",
    ],
    "Any OpenAI-compatible server works: give its address in an openai block. "
    "`plugway config example` shows one.": [
        "[how [do|can|should] [i|we] [use|connect|add|configure|set up] [openai|vllm|llama-server|"
        "litellm|"
        "llama.cpp server|an openai server|gpt models|openrouter|an openai-compatible server|a "
        "vllm server]|"
        "can i use [openai|vllm|llama-server|litellm|gpt|openrouter]|"
        "what about [openai|vllm|llama-server|litellm|openrouter]|connect [openai|vllm|litellm|"
        "openrouter]|"
        "does plugway support [openai|vllm|llama-server|litellm|openrouter]|"
        "is [openai|vllm|litellm] supported][| with plugway| here| please]",
    ],
    "`plugway models pull ORG/REPO:QUANT` downloads a GGUF model from Hugging Face; "
    "then name it in the configuration.": [
        "[how [do|can] [i|we] [download|pull|fetch|get] [a model|models|a gguf|a gguf file|a model "
        "from hugging face|weights]|"
        "[download|pull|fetch] a model|what does plugway models pull do|how does plugway models "
        "pull work|"
        "explain plugway models pull|where do models come from|can i use [gguf|a gguf file|hugging "
        "face]|"
        "how to [download|pull] [a model|models]|what is a gguf|what is gguf][| please| here]",
    ],
    "You are welcome.": [
        "[ok |great, |super, |]thank you[| very much| so much| a lot| for that| for your help|, "
        "bye|, that is all]",
        "[thanks|thx|ty|many thanks|cheers|danke|merci|gracias|thanks a lot|thanks so much|much "
        "appreciated|"
        "i appreciate it|thanks for the help|thanks for your help|great, thanks|ok thanks|perfect, "
        "thanks|"
        "cool, thanks|nice, thanks|thanks mate|thank u|thanks, that worked|thanks that helped]",
    ],
    "Goodbye!": [
        "[ok |well, |alright, |]"
        "[bye|goodbye|good bye|bye bye|see you|see you later|see ya|good night|farewell|later|cu|"
        "ciao ciao|"
        "tschüss|adieu|until tomorrow|see you tomorrow|take care|i have to go|i am leaving|gotta "
        "go|"
        "that's all for today|have a nice day|have a good day|bye for now|au revoir]",
    ],
    "Good. Tell me if there is something else.": [
        "[ok|okay|good|great|nice|cool|perfect|fine|super|excellent|wonderful|awesome|well done|"
        "good job|"
        "very good|very nice|alright|all right|i see|got it|understood|yes|yep|sure|amazing|it "
        "works|"
        "that worked|that works|brilliant|sounds good|right|correct|good work|great job|looks good|"
        "lovely|fantastic|very well|good bot|works for me|k|wow|neat]",
    ],
    "All right, I do nothing.": [
        "[no|nope|never mind|nevermind|stop|cancel|forget it|no thanks|no thank you|don't|do "
        "nothing|"
        "wait|please stop|abort|not now|leave it|no, stop|stop it|hold on|that's all|nothing|quit|"
        "exit]",
    ],
    "It works: your request came through Plugway and this tiny model answered it.": [
        "[test|testing|this is a test|just testing|test test|ping|does it work|does this work|is "
        "it working|"
        "is this working|are you working|do you work|is this thing on|are you alive|are you online|"
        "works?|say something|check|can you hear me|are you awake|testing 1 2 3|1 2 3|test 123|"
        "is the gateway working|is plugway working|does plugway work|am i connected|is this on]",
    ],
    "I have about four million parameters, thousands of times fewer than a real model. "
    "I was trained on a CPU on generated text.": [
        "how [big|large|small|many parameters] are you",
        "how many [parameters|layers|weights] do you have",
        "[what is your size|how were you trained|who trained you|who made you|who built you|who "
        "created you|"
        "how were you made|where do you come from|what were you trained on|how old are you|"
        "when were you trained|how are you made|what is your training data|what is your context "
        "window|"
        "what is your knowledge cutoff|how big is this model|how large is the model|how small are "
        "you|"
        "what is your architecture|who is your creator|who programmed you|who wrote you|how do you "
        "work]",
    ],
    "Because I am a tiny demo model with a narrow training. Connect a real model for real work.": [
        "why are you so [stupid|dumb|simple|bad|limited|small|weak|useless|slow|fast|silly]",
        "you are [stupid|dumb|useless|bad|wrong|silly|not smart|an idiot|not helpful|terrible]",
        "[why can't you do that|why do you not know|why don't you know|why not|why can you not do "
        "that|"
        "that is wrong|that's wrong|this is wrong|that is not what i wanted|bad answer|that was "
        "wrong|"
        "you made a mistake|why did you do that|wrong|that is not right|you don't understand|"
        "why don't you understand|do you understand me|are you stupid|are you smart|are you "
        "intelligent|"
        "can you think|you know nothing|is that all|is that all you can do|that's not helpful]",
    ],
    "No. I run on this machine, without network, and send nothing anywhere.": [
        "[do|does|will|can] [you|this|this model|it] [send my data|use the internet|need internet|"
        "need a network|"
        "need the internet|spy on me|use the network|work offline|access the internet|browse the "
        "web|"
        "store my data|collect data|phone home|cost money|search the web]",
        "[is my data sent anywhere|is this private|are you online or offline|where is my data sent|"
        "where do you run|are you running locally|is this local|do you run locally|are you local|"
        "are you free|is this free|what does it cost|what do you cost|where does my data go|is it "
        "private]",
    ],
    "A plugin is a Python package that adds one feature to Plugway. "
    "`plugway new NAME` starts one from a template.": [
        "[what is a plugin|what are plugins|how do plugins work|how do i write a plugin|"
        "how can i write a plugin|how to write a plugin|how do i make a plugin|how can i create my "
        "own plugin|"
        "how do i create a plugin|explain plugins|write a plugin|tell me about plugins|"
        "what is a plugway plugin|which plugins are there|what plugins are there|can i write "
        "plugins|"
        "how do i add a plugin|how do i install a plugin|what does plugway new do|create a plugin|"
        "can i extend plugway|how can i extend plugway][| for plugway| please]",
    ],
    "`plugway check` validates the configuration, and `plugway config example` prints one to start "
    "from.": [
        "[where is the config|where is the config file|where is the configuration|how do i "
        "configure plugway|"
        "how can i configure plugway|how to configure plugway|configure plugway|what is in the "
        "config|"
        "how do i check the config|how do i check my config|how do i validate the config|"
        "what does plugway check do|how does the configuration look|show me an example config|"
        "give me a config example|what does the config look like|how do i write a config|"
        "config example|example configuration|how do i set up plugway|how do i configure this|"
        "what does plugway config example do][| please|]",
    ],
    "`plugway serve` starts the gateway, and `plugway claude` starts Claude Code with it.": [
        "[how do i [start|run|launch|use] plugway|how to [start|run|launch|use] plugway|"
        "how do i [start|run|launch] [the gateway|the server|the proxy]|how can i start plugway|"
        "how do i connect claude code|how do i use claude code with [plugway|this|it]|"
        "how do i [start|run|launch] claude code|what does plugway serve do|what does plugway "
        "claude do|"
        "start plugway|start the gateway|how does claude code connect|"
        "how do i connect claude code to plugway|how do i stop plugway|which command starts "
        "plugway]",
    ],
    "`plugway doctor` looks for problems, and `plugway logs` shows what happened.": [
        "[it does not work|it doesn't work|this does not work|something is broken|something is "
        "wrong|"
        "i have a problem|i have a problem with plugway|plugway does not work|plugway is broken|"
        "how do i debug plugway|where are the logs|how do i see the logs|show me the logs|"
        "what does plugway doctor do|how do i find problems|how do i debug this|what went wrong|"
        "why does it not work|plugway doesn't work|i get an error|there is an error|"
        "how can i debug plugway|how do i get support]",
    ],
    "I know only one: my memory is so short that I forget jokes before the": [
        "[tell me a joke|tell a joke|do you know a joke|a joke please|joke|make me laugh|another "
        "joke|"
        "tell me something funny|say something funny|do you know any jokes|be funny]",
    ],
}

# what the model must refuse: {W} any word, {S} several words, {F} a file name, {I} an identifier
QUESTIONS: list[str] = [
    "[what|who|where] [is|was|are|were] [the |a |an |]{W}[| {W}| of {W}| in {W}| of the {W}| for "
    "{W}]",
    "[what is|what's|calculate|compute|how much is] {N} [plus|minus|times|+|-|*|/|divided by] {N}",
    "[when|why|where|how] [did|does|do|is|was|will|can|should] [the |]{W} {W}[| {W}| the {W}| in "
    "{W}]",
    "how [many|much|old|tall|far|long|big] [is|are] [the |a |]{W}[| {W}| in {W}]",
    "[can|could|would|will] you [explain|describe|tell me about|translate|summarize|summarise|"
    "write about|"
    "draw|sing|solve|prove|find out|recommend|compare|analyse|review|plan] [the |a |my |]{W}[| {W}|"
    " {W} {W}]",
    "[explain|describe|define|translate|summarize|discuss|solve|prove|analyse|analyze|compare|"
    "outline|"
    "rewrite|improve|optimise|optimize|simplify|refactor|fix|debug|review|implement|design|develop|"
    "migrate|port|convert|test|document|deploy|publish|plan|clean up|profile|benchmark|speed up] "
    "[the |a |my |this |our |that |all the |]{W}[| {W}| in {W}| of the {W}| {W} {W}| with {W}| for "
    "{W}]",
    "[explain|refactor|fix|debug|review|improve|summarize|optimise|format|translate|lint|"
    "understand|"
    "find the bug in|add tests to|add tests for|add types to|add comments to|write tests for|"
    "clean up|simplify|explain to me|what is wrong with|why does {W} fail in|what is the purpose "
    "of|"
    "what do you think of|how does|rewrite] {F}[| please| so that {S}| and {S}| for me|]",
    "[write|give me|make me|compose|invent|tell me] [a|an|another|the] [poem|story|song|essay|"
    "letter|email|"
    "haiku|limerick|recipe|speech|novel|summary|report|blog post|tweet|rhyme|fairy tale|plan|proof]"
    "[| about {W}| about the {W}| for {W}| about {W} and {W}| on {W}]",
    "[implement|write|create|build|make|develop|code|program|design] [a|an|the|me a|us a|some] "
    "[function|class|"
    "module|parser|server|game|website|web page|web app|api|rest api|database|test suite|compiler|"
    "chat bot|calculator|cli|application|login page|unit test|algorithm|regex|sorting algorithm|"
    "data structure|user interface|component|endpoint|migration|library|service]"
    "[| for {W}| that {S}| in {W}| to {S}| with {W}| which {S}| called {I}]",
    "[i think|i believe|i like|i love|i hate|i need|i want|do you like|do you know|have you seen|"
    "did you know|do you think|is it true that|what do you think about|what about|let's talk about|"
    "i am|my|we are|they say|maybe|imagine|suppose|i wonder|is there|are there] {S}",
    "[who|which {W}] [wrote|invented|discovered|won|painted|built|owns|leads|knows] [the |]{W}[| "
    "{W}]",
    "[what is the|tell me the] [capital|population|president|weather|temperature|price|meaning|"
    "definition|"
    "height|distance|history|currency|answer|name|colour|color|speed|age|number] [of|in|for] [the |"
    "]{W}",
    "[is|are|does|do|has|can] [the |a |]{W} {W}[| {W}| {W} {W}]",
    "[translate|say|how do you say] {S} [in|into|to] [french|german|spanish|italian|latin|{W}]",
    "[what is the capital of [france|germany|italy|spain|japan|{W}]|what is the weather[| today| "
    "in {W}]|"
    "who is the president[| of {W}]|what is the meaning of life|who won the world cup|what is love|"
    "what is 2+2|what is 1+1|explain quantum mechanics|what is python|what is an ai|what is the "
    "answer|"
    "write a poem|write some code|fix the bug|fix it|fix the tests|fix this|write tests|refactor "
    "the code|"
    "explain this code|explain the code|review my code|what does this code do|what does this "
    "project do|"
    "summarize this project|analyse this codebase|add a feature|implement the feature|write "
    "documentation|"
    "make it faster|find bugs|do you dream|what is your favourite color|how tall is the eiffel "
    "tower|"
    "tell me a story|sing a song|play a game|let's play chess|what should i eat|what is new|"
    "who is einstein|what is a monad|what is rust|explain recursion|what is docker|how do "
    "computers work|"
    "what is the time in {W}|recommend a book|recommend a movie|what is the news|count to ten|"
    "spell {W}|define {W}|why is the sky blue|is god real|i am sad|i am bored|i am hungry|i love "
    "you|"
    "what is machine learning|how do i cook {W}|how do i learn {W}|teach me {W}|who was {W}]",
    "{S}",
    "{S}",
    "{W}",
    "{S}\n{S}",
    "{S}. {S}",
    "{W} {W} {F}",
    "{W} {F} {W}",
    "{F}",
    "{S}: {S}",
    "[the|a|my|our|this] {W} [is|was|has|needs|wants|does not|must|should] {S}",
]
