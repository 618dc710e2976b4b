/* A stand-in for Apple's native library, so that Apple's own Python sources run without a Mac.
 *
 * It implements the functions that `FoundationModels.h` of apple-fm-sdk 0.2.1 declares and its Python
 * sources call, as `FoundationModelsCBindings.swift` next to it describes them: callbacks come from
 * other threads, snapshots are cumulative, a tool's call waits for `FMBridgedToolFinishCall`, and a
 * cancelled task reports status 255. The model obeys lines of the prompt:
 *
 *     fake: error N          report status N
 *     fake: call NAME JSON   call a tool; several lines are one round
 *     fake: wait             answer only when cancelled
 *     fake: json JSON        the generated object
 *
 * FAKE_FM_UNAVAILABLE is the reason why the model is not available, FAKE_FM_WINDOW the window, and
 * FAKE_FM_NO_COUNTS makes counting fail. A token is a word.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "FoundationModels.h"

enum kind { MODEL = 0x464d01, SESSION, PROMPT, TASK, STREAM, SCHEMA, PROPERTY, CONTENT, TOOL };
enum { CANCELLED, BROKEN_STREAMS, RELEASED_BEFORE_CANCEL, LIVE_TOOLS, WAITING, COUNTERS };

typedef struct object object;
struct object {
    enum kind kind;
    int refs;
    char *text;   /* instructions, prompt, JSON, or a tool's name */
    char *more;   /* entries of a transcript, options, or a tool's description */
    char *third;  /* a tool's parameters */
    object *parts[16];
    int count;
    int cancelled, busy, optional, finished;
    char *output;
    unsigned calls;
    void (*callable)(FMGeneratedContentRef, unsigned);
    void *user;
    FMLanguageModelSessionResponseCallback done;
    FMLanguageModelSessionStructuredResponseCallback done_structured;
    object *session, *prompt;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int counters[COUNTERS];

int fake_counter(int which) { return counters[which]; }

static char *copy(const char *text) { return strdup(text ? text : ""); }

static char *format(const char *pattern, ...) {
    va_list values;
    char *made = NULL;
    va_start(values, pattern);
    if (vasprintf(&made, pattern, values) < 0) abort();
    va_end(values);
    return made;
}

static char *quoted(const char *text) {
    char *made = malloc(6 * strlen(text) + 3), *at = made;
    *at++ = '"';
    for (; *text; text++) {
        unsigned char letter = *text;
        if (letter == '"' || letter == '\\') { *at++ = '\\'; *at++ = letter; }
        else if (letter < 0x20) at += sprintf(at, "\\u%04x", letter);
        else *at++ = letter;
    }
    strcpy(at, "\"");
    return made;
}

static object *new(enum kind kind, const char *text) {
    object *made = calloc(1, sizeof *made);
    made->kind = kind;
    made->refs = 1;
    made->text = copy(text);
    made->more = copy("");
    made->third = copy("");
    if (kind == TOOL) counters[LIVE_TOOLS]++;
    return made;
}

static object *as(const void *ref, enum kind kind) {
    object *found = (object *)ref;
    if (!found || found->kind != kind || found->refs < 1) {
        fprintf(stderr, "fake library: not a live object of kind %x\n", kind);
        abort();
    }
    return found;
}

static object *hold(object *one) {
    __atomic_add_fetch(&one->refs, 1, __ATOMIC_SEQ_CST);
    return one;
}

static void drop(object *one) {
    if (!one || __atomic_sub_fetch(&one->refs, 1, __ATOMIC_SEQ_CST) > 0) return;
    if (one->refs < 0) { fprintf(stderr, "fake library: released twice\n"); abort(); }
    if (one->kind == TOOL) counters[LIVE_TOOLS]--;
    for (int i = 0; i < one->count; i++) drop(one->parts[i]);
    drop(one->session);
    drop(one->prompt);
    free(one->text); free(one->more); free(one->third); free(one->output);
    one->text = one->more = one->third = one->output = NULL;
    one->kind = 0;  /* the memory stays: a later use is seen */
}

void FMRetain(const void *ref) { hold((object *)ref); }
void FMRelease(const void *ref) {
    object *one = (object *)ref;
    /* Swift cancels the stream now, and calls back once more: into memory that Python has freed. */
    if (one->kind == STREAM && !one->finished) counters[BROKEN_STREAMS]++;
    drop(one);
}
void FMFreeString(char *text) { free(text); }

/* ── the model ─────────────────────────────────────────────────────────────────────────────── */

FMSystemLanguageModelRef FMSystemLanguageModelGetDefault() { return new(MODEL, ""); }
FMSystemLanguageModelRef FMSystemLanguageModelCreate(FMSystemLanguageModelUseCase use, FMSystemLanguageModelGuardrails guard) {
    (void)use; (void)guard;
    return new(MODEL, "");
}
bool FMSystemLanguageModelIsAvailable(FMSystemLanguageModelRef ref, FMSystemLanguageModelUnavailableReason *reason) {
    const char *why = getenv("FAKE_FM_UNAVAILABLE");
    as(ref, MODEL);
    if (why && *why) *reason = atoi(why);
    return !(why && *why);
}
int FMSystemLanguageModelGetContextSize(FMSystemLanguageModelRef ref) {
    const char *window = getenv("FAKE_FM_WINDOW");
    as(ref, MODEL);
    return window && *window ? atoi(window) : 4096;
}

typedef struct { char *text; void *user; FMSystemLanguageModelTokenCountCallback done; } counting;

static void *count_words(void *given) {
    counting *work = given;
    const char *refuses = getenv("FAKE_FM_NO_COUNTS");
    int words = 0;
    for (char *rest, *word = strtok_r(work->text, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) words++;
    if (refuses && *refuses) work->done(255, 0, "Token counting requires macOS 26.4", work->user);
    else work->done(0, words, NULL, work->user);
    free(work->text); free(work);
    return NULL;
}
static FMTaskRef count(char *text, void *user, FMSystemLanguageModelTokenCountCallback done) {
    pthread_t thread;
    counting *work = malloc(sizeof *work);
    *work = (counting){text, user, done};
    pthread_create(&thread, NULL, count_words, work);
    pthread_detach(thread);
    return new(TASK, "");
}
FMTaskRef FMSystemLanguageModelTokenCountForPrompt(FMSystemLanguageModelRef model, FMComposedPrompt prompt, void *user, FMSystemLanguageModelTokenCountCallback done) {
    as(model, MODEL);
    return count(copy(as(prompt, PROMPT)->text), user, done);
}
FMTaskRef FMSystemLanguageModelTokenCountForTranscript(FMSystemLanguageModelRef model, FMLanguageModelSessionRef session, void *user, FMSystemLanguageModelTokenCountCallback done) {
    as(model, MODEL);
    return count(copy(as(session, SESSION)->more), user, done);
}

/* ── prompts, schemas, content ─────────────────────────────────────────────────────────────── */

FMComposedPrompt FMComposedPromptInitialize() { return new(PROMPT, ""); }
void FMComposedPromptAddText(FMComposedPrompt ref, const char *text) {
    object *prompt = as(ref, PROMPT);
    char *all = format("%s%s", prompt->text, text);
    free(prompt->text);
    prompt->text = all;
}

FMGenerationSchemaRef FMGenerationSchemaCreate(const char *name, const char *description) {
    (void)description;
    return new(SCHEMA, name);
}
void FMGenerationSchemaAddReferenceSchema(FMGenerationSchemaRef schema, FMGenerationSchemaRef other) {
    object *holder = as(schema, SCHEMA);
    holder->parts[holder->count++] = hold(as(other, SCHEMA));
}
FMGenerationSchemaPropertyRef FMGenerationSchemaPropertyCreate(const char *name, const char *description, const char *type, bool optional) {
    object *made = new(PROPERTY, name);
    char *about = quoted(description ? description : "");
    free(made->more);
    made->more = format("\"type\":\"%s\",\"description\":%s", type, about);
    made->optional = optional;
    free(about);
    return made;
}
static void guide(const void *ref, bool wrapped, char *text) {
    object *property = as(ref, PROPERTY);
    char *all = format("%s,\"%s%s", property->more, wrapped ? "element." : "", text);
    free(property->more); free(text);
    property->more = all;
}
void FMGenerationSchemaPropertyAddAnyOfGuide(FMGenerationSchemaPropertyRef ref, const char **choices, int total, bool wrapped) {
    char *text = copy("enum\":[");
    for (int i = 0; i < total; i++) {
        char *one = quoted(choices[i]), *all = format("%s%s%s", text, i ? "," : "", one);
        free(one); free(text);
        text = all;
    }
    guide(ref, wrapped, format("%s]", text));
    free(text);
}
void FMGenerationSchemaPropertyAddMaximumGuide(FMGenerationSchemaPropertyRef ref, double most, bool wrapped) { guide(ref, wrapped, format("maximum\":%g", most)); }
void FMGenerationSchemaPropertyAddMinimumGuide(FMGenerationSchemaPropertyRef ref, double least, bool wrapped) { guide(ref, wrapped, format("minimum\":%g", least)); }
void FMGenerationSchemaPropertyAddRangeGuide(FMGenerationSchemaPropertyRef ref, double least, double most, bool wrapped) {
    if (least > most) abort();  /* Swift ends the process, too */
    guide(ref, wrapped, format("minimum\":%g,\"maximum\":%g", least, most));
}
void FMGenerationSchemaPropertyAddMinItemsGuide(FMGenerationSchemaPropertyRef ref, int least) { guide(ref, false, format("minItems\":%d", least)); }
void FMGenerationSchemaPropertyAddMaxItemsGuide(FMGenerationSchemaPropertyRef ref, int most) { guide(ref, false, format("maxItems\":%d", most)); }
void FMGenerationSchemaAddProperty(FMGenerationSchemaRef schema, FMGenerationSchemaPropertyRef ref) {
    object *holder = as(schema, SCHEMA), *property = as(ref, PROPERTY);
    char *all = format("%s%s\"%s\":{%s,\"optional\":%s}", holder->more, *holder->more ? "," : "", property->text, property->more, property->optional ? "true" : "false");
    free(holder->more);
    holder->more = all;
}
static char *schema_text(object *schema) {
    char *inner = copy("");
    for (int i = 0; i < schema->count; i++) {
        object *part = schema->parts[i];
        char *all = format("%s%s\"%s\":{%s}", inner, i ? "," : "", part->text, part->more);
        free(inner);
        inner = all;
    }
    char *made = format("{\"title\":\"%s\",\"properties\":{%s},\"$defs\":{%s}}", schema->text, schema->more, inner);
    free(inner);
    return made;
}
char *FMGenerationSchemaGetJSONString(FMGenerationSchemaRef ref, int *code, char **why) {
    (void)code; (void)why;
    return schema_text(as(ref, SCHEMA));
}

FMGeneratedContentRef FMGeneratedContentCreateFromJSON(const char *json, int *code, char **why) {
    (void)code; (void)why;
    return new(CONTENT, json);
}
char *FMGeneratedContentGetJSONString(FMGeneratedContentRef ref) { return copy(as(ref, CONTENT)->text); }
bool FMGeneratedContentIsComplete(FMGeneratedContentRef ref) { as(ref, CONTENT); return true; }

/* ── tools ─────────────────────────────────────────────────────────────────────────────────── */

FMBridgedToolRef FMBridgedToolCreate(const char *name, const char *description, FMGenerationSchemaRef parameters, void (*callable)(FMGeneratedContentRef, unsigned), int *code, char **why) {
    object *made = new(TOOL, name);
    (void)code; (void)why;
    free(made->more); free(made->third);
    made->more = copy(description);
    made->third = schema_text(as(parameters, SCHEMA));
    made->callable = callable;
    return made;
}
void FMBridgedToolFinishCall(FMBridgedToolRef ref, unsigned id, const char *output) {
    object *tool = as(ref, TOOL);
    (void)id;
    pthread_mutex_lock(&lock);
    free(tool->output);
    tool->output = copy(output);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* ── sessions ──────────────────────────────────────────────────────────────────────────────── */

static object *session_with(FMBridgedToolRef *tools, int total) {
    object *made = new(SESSION, "");
    for (int i = 0; i < total; i++) made->parts[made->count++] = hold(as(tools[i], TOOL));
    return made;
}
FMLanguageModelSessionRef FMLanguageModelSessionCreateFromSystemLanguageModel(FMSystemLanguageModelRef model, const char *instructions, FMBridgedToolRef *tools, int total) {
    object *made = session_with(tools, total);
    char *text = quoted(instructions ? instructions : ""), *listed = copy("");
    if (model) as(model, MODEL);
    for (int i = 0; i < total; i++) {
        object *tool = made->parts[i];
        char *about = quoted(tool->more);
        char *all = format("%s%s{\"type\":\"function\",\"function\":{\"name\":\"%s\",\"description\":%s,\"parameters\":%s}}", listed, i ? "," : "", tool->text, about, tool->third);
        free(listed); free(about);
        listed = all;
    }
    free(made->more);
    made->more = format("{\"role\":\"instructions\",\"id\":\"0\",\"tools\":[%s],\"contents\":[{\"type\":\"text\",\"id\":\"1\",\"text\":%s}]}", listed, text);
    free(text); free(listed);
    return made;
}
FMLanguageModelSessionRef FMLanguageModelSessionCreateFromTranscript(FMLanguageModelSessionRef earlier, FMSystemLanguageModelRef model, FMBridgedToolRef *tools, int total) {
    object *made = session_with(tools, total);
    if (model) as(model, MODEL);
    free(made->more);
    made->more = copy(as(earlier, SESSION)->more);
    return made;
}
FMLanguageModelSessionRef FMTranscriptCreateFromJSONString(const char *json, int *code, char **why) {
    const char *begin = strstr(json, "\"entries\": [");
    const char *end = strrchr(json, ']');
    if (!strstr(json, "\"FoundationModels.Transcript\"") || !begin || !end) {
        *code = 6;
        *why = copy("The data couldn't be read because it isn't in the correct format.");
        return NULL;
    }
    object *made = new(SESSION, "");
    begin += strlen("\"entries\": [");
    free(made->more);
    made->more = strndup(begin, end - begin);
    return made;
}
char *FMLanguageModelSessionGetTranscriptJSONString(FMLanguageModelSessionRef ref, int *code, char **why) {
    (void)code; (void)why;
    return format("{\"version\":1,\"type\":\"FoundationModels.Transcript\",\"transcript\":{\"entries\":[%s]}}", as(ref, SESSION)->more);
}
bool FMLanguageModelSessionIsResponding(FMLanguageModelSessionRef ref) { return as(ref, SESSION)->busy; }
void FMLanguageModelSessionReset(FMLanguageModelSessionRef ref) { as(ref, SESSION); }

/* ── answers ───────────────────────────────────────────────────────────────────────────────── */

static char *order(const char *prompt, const char *name, int number) {
    char *sought = format("fake: %s", name);
    const char *found = prompt;
    while ((found = strstr(found, sought)) && number--) found += strlen(sought);
    char *rest = found ? strndup(found + strlen(sought), strcspn(found + strlen(sought), "\n")) : NULL;
    free(sought);
    if (rest && *rest == ' ') memmove(rest, rest + 1, strlen(rest));
    return rest;
}

static int call_tools(object *task) {
    object *called[16];
    int total = 0;
    for (char *line; (line = order(task->prompt->text, "call", total)); free(line)) {
        char *arguments = strchr(line, ' ');
        if (arguments) *arguments++ = 0;
        object *tool = NULL;
        for (int i = 0; i < task->session->count; i++)
            if (!strcmp(task->session->parts[i]->text, line)) tool = task->session->parts[i];
        if (!tool) { free(line); break; }
        tool->callable(new(CONTENT, arguments ? arguments : "{}"), ++tool->calls);
        called[total++] = tool;
    }
    pthread_mutex_lock(&lock);
    for (int i = 0; i < total; i++)
        while (!called[i]->output) pthread_cond_wait(&changed, &lock);
    if (total && !task->cancelled) counters[RELEASED_BEFORE_CANCEL]++;
    pthread_mutex_unlock(&lock);
    return total;
}

static int status_of(object *task) {
    char *error = order(task->prompt->text, "error", 0), *wait = order(task->prompt->text, "wait", 0);
    int status = error ? atoi(error) : 0;
    pthread_mutex_lock(&lock);
    if (wait) counters[WAITING]++;
    while (wait && !task->cancelled) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    free(error); free(wait);
    return status;
}

static void *respond(void *given) {
    object *task = given;
    int status = status_of(task);
    if (!status && !task->done_structured) call_tools(task);
    char *json = order(task->prompt->text, "json", 0);
    char *answer = format("You said: %s", task->prompt->text);
    task->session->busy = 0;
    if (task->cancelled) status = 255;
    if (task->done_structured) task->done_structured(status, new(CONTENT, status ? "\"failed\"" : json ? json : "{}"), task->user);
    else task->done(status, status ? "failed" : answer, strlen(status ? "failed" : answer), task->user);
    free(json); free(answer);
    drop(task);
    return NULL;
}
static object *start(const void *session, const void *prompt, void *user, FMLanguageModelSessionResponseCallback done, FMLanguageModelSessionStructuredResponseCallback structured) {
    pthread_t thread;
    object *task = new(TASK, "");
    task->session = hold(as(session, SESSION));
    task->prompt = hold(as(prompt, PROMPT));
    task->user = user;
    task->done = done;
    task->done_structured = structured;
    task->session->busy = 1;
    hold(task);
    pthread_create(&thread, NULL, respond, task);
    pthread_detach(thread);
    return task;
}
FMTaskRef FMLanguageModelSessionRespond(FMLanguageModelSessionRef session, FMComposedPrompt prompt, const char *options, void *user, FMLanguageModelSessionResponseCallback done) {
    (void)options;
    return start(session, prompt, user, done, NULL);
}
FMTaskRef FMLanguageModelSessionRespondWithSchemaFromJSON(FMLanguageModelSessionRef session, FMComposedPrompt prompt, const char *schema, const char *options, void *user, FMLanguageModelSessionStructuredResponseCallback done) {
    (void)options;
    if (!strstr(schema, "\"x-order\"")) abort();
    return start(session, prompt, user, NULL, done);
}
void FMTaskCancel(FMTaskRef ref) {
    object *task = as(ref, TASK);
    pthread_mutex_lock(&lock);
    task->cancelled = 1;
    counters[CANCELLED]++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void *iterate(void *given) {
    object *stream = given;
    char *error = order(stream->prompt->text, "error", 0);
    char *answer = format("You said: %s", stream->prompt->text);
    size_t size = strlen(answer), most = error ? 3 : size;
    for (size_t at = 0; at < most;) {
        at += strcspn(answer + at + 1, " ") + 1;
        char *snapshot = strndup(answer, at < most ? at : most);
        stream->done(0, snapshot, strlen(snapshot), stream->user);
        free(snapshot);
    }
    stream->finished = 1;
    if (error) stream->done(atoi(error), "failed", 6, stream->user);
    else stream->done(0, NULL, 0, stream->user);
    free(error); free(answer);
    drop(stream);
    return NULL;
}
FMLanguageModelSessionResponseStreamRef FMLanguageModelSessionStreamResponse(FMLanguageModelSessionRef session, FMComposedPrompt prompt, const char *options) {
    object *made = new(STREAM, options);
    made->session = hold(as(session, SESSION));
    made->prompt = hold(as(prompt, PROMPT));
    return made;
}
void FMLanguageModelSessionResponseStreamIterate(FMLanguageModelSessionResponseStreamRef ref, void *user, FMLanguageModelSessionResponseCallback done) {
    pthread_t thread;
    object *stream = hold(as(ref, STREAM));
    stream->user = user;
    stream->done = done;
    pthread_create(&thread, NULL, iterate, stream);
    pthread_detach(thread);
}
