/* The limit of an operation: the calls of librados and librbd that the driver makes for it, and nothing else.
 *
 *     cc -O2 -pthread -o limit *.c && ./limit CONF USER KEYRING POOL MOMENT <steps
 *
 * Reads the steps (bench/steps.py), one a line, and waits until MOMENT of the monotonic clock. Then its time begins:
 * it opens librados as the driver does, connects with the same options, makes the call of each step, one after the
 * other, and closes the connection. It prints the times and the number of calls of each function as JSON. The first
 * step that needs librbd opens it. The time of the steps after `again` is printed, too: they have an open connection.
 *
 * `$name` in a step stands for a text that an earlier step has read. A call that fails ends the program with exit
 * status 1. A call that does not return ends it, too: by the alarm clock.
 */

#define _GNU_SOURCE
#include "limit.h"

#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE = 240, WORDS = 256, NAMES = 16 };

#define DEFINE(name) \
    __typeof__(&name) p_##name; \
    unsigned long n_##name;
RADOS(DEFINE)
RBD(DEFINE)

rados_t cluster;
rados_ioctx_t pool;
const char *pool_name;
char listed[LISTED][64];
int listed_count;

static double libraries; /* seconds in which they were opened */
static struct {
    char name[16], text[256];
} texts[NAMES];

void fail(const char *what, long result)
{
    fprintf(stderr, "limit: %s: %s\n", what, result < 0 ? strerror((int)-result) : "failed");
    _exit(1);
}

long need(const char *what, long result)
{
    if (result < 0)
        fail(what, result);
    return result;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *library(const char *file)
{
    void *opened = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!opened)
        fail(dlerror(), 0);
    return opened;
}

#define RESOLVE(name) \
    if (!(p_##name = (__typeof__(&name))dlsym(opened, #name))) \
        fail(#name, 0);

static void open_rados(void)
{
    double began = now();
    void *opened = library("librados.so.2");
    RADOS(RESOLVE)
    libraries += now() - began;
}

void open_rbd(void)
{
    if (p_rbd_close)
        return;
    double began = now();
    void *opened = library("librbd.so.1");
    RBD(RESOLVE)
    libraries += now() - began;
}

/* The options of rust/librbd/src/connect.rs. */
static void connect_to(char **words)
{
    static const char *options[][2] = {
        {"log_to_stderr", "false"},
        {"err_to_stderr", "false"},
        {"log_to_syslog", "false"},
        {"admin_socket", ""},
        {"rbd_cache", "false"},
        {"rbd_plugins", ""},
        {"rbd_persistent_cache_mode", "disabled"},
        {"rbd_parent_cache_enabled", "false"},
        {"client_mount_timeout", "25"},
        {"rados_mon_op_timeout", "25"},
        {"rados_osd_op_timeout", "25"},
    };
    char name[128];
    snprintf(name, sizeof name, "client.%s", words[2]);
    NEED(rados_create2, &cluster, "ceph", name, 0);
    NEED(rados_conf_read_file, cluster, words[1]);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        int set = CALL(rados_conf_set)(cluster, options[i][0], options[i][1]);
        if (set < 0 && set != -ENOENT) /* an older librbd lacks some */
            fail(options[i][0], set);
    }
    NEED(rados_conf_set, cluster, "keyring", words[3]);
    NEED(rados_connect, cluster);
    NEED(rados_ioctx_create, cluster, words[4], &pool);
    CALL(rados_set_pool_full_try)(pool);
    pool_name = words[4];
}

void keep_text(const char *name, const char *text, size_t length)
{
    for (int i = 0; i < NAMES; i++)
        if (!*texts[i].name || !strcmp(texts[i].name, name)) {
            snprintf(texts[i].name, sizeof texts->name, "%s", name);
            snprintf(texts[i].text, sizeof texts->text, "%.*s", (int)length, text);
            return;
        }
    fail("too many names", 0);
}

/* Returns a copy of a word, with the text of the `$name` in it. */
static char *expanded(const char *word)
{
    const char *dollar = strchr(word, '$');
    char *copy = NULL;
    if (!dollar)
        return strdup(word);
    for (int i = 0; i < NAMES && !copy; i++) {
        size_t length = strlen(texts[i].name);
        if (length && !strncmp(dollar + 1, texts[i].name, length) &&
            asprintf(&copy, "%.*s%s%s", (int)(dollar - word), word, texts[i].text, dollar + 1 + length) < 0)
            fail("asprintf", 0);
    }
    if (!copy)
        fail(word, 0);
    return copy;
}

typedef int command(rados_t, const char **, size_t, const char *, size_t, char **, size_t *, char **, size_t *);

static void ask(command *send, const char *name, char *text)
{
    char *reply, *status, *whole = expanded(text);
    size_t length, status_length;
    const char *commands[] = {whole};
    need(name, send(cluster, commands, 1, NULL, 0, &reply, &length, &status, &status_length));
    CALL(rados_buffer_free)(reply);
    CALL(rados_buffer_free)(status);
    free(whole);
}

static const struct {
    const char *name;
    step *run;
    int words; /* at least so many, with its name */
} steps[] = {
    {"read", do_read, 3},       {"list", do_list, 2},           {"write", do_write, 3},   {"stat", do_stat, 2},
    {"count", do_count, 2},     {"id", do_id, 3},               {"header", do_header, 3}, {"lock", do_lock, 2},
    {"meta", do_meta, 3},       {"sizes", do_sizes, 1},         {"create", do_create, 4}, {"clone", do_clone, 5},
    {"open", do_open, 2},       {"view", do_view, 2},           {"close", do_close, 1},   {"resize", do_resize, 2},
    {"snap", do_snap, 2},       {"snapshots", do_snapshots, 3}, {"snaps", do_snaps, 1},   {"at", do_at, 2},
    {"diff", do_diff, 5},       {"watchers", do_watchers, 1},   {"directory", do_directory, 1},
    {"trash", do_trash, 1},     {"trash_move", do_trash_move, 2},
};

static void run(char *line)
{
    char *words[WORDS], *rest;
    int count = 0;
    if (!strncmp(line, "mon ", 4)) {
        ask(CALL(rados_mon_command), line, line + 4);
        return;
    }
    if (!strncmp(line, "mgr ", 4)) {
        ask(CALL(rados_mgr_command), line, line + 4);
        return;
    }
    for (char *word = strtok_r(line, " ", &rest); word && count < WORDS; word = strtok_r(NULL, " ", &rest))
        words[count++] = expanded(word);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (count >= steps[i].words && !strcmp(words[0], steps[i].name)) {
            steps[i].run(words + 1, count - 1);
            while (count)
                free(words[--count]);
            return;
        }
    fail("unknown step", 0);
}

#define PRINT(name) \
    if (n_##name) \
        printf("%s\"%s\": %lu", comma++ ? ", " : "", #name, n_##name);

int main(int count, char **words)
{
    static char *lines[1024];
    size_t size = 0, read = 0;
    double began, connected, again = 0, done, closed;
    int comma = 0;
    if (count != 6)
        fail("usage: limit CONF USER KEYRING POOL MOMENT <steps", 0);
    for (char *line = NULL; read < 1023 && getline(&line, &size, stdin) > 0; line = NULL, size = 0) {
        line[strcspn(line, "\n")] = 0;
        lines[read++] = line;
    }
    double wait = strtod(words[5], NULL) - now();
    if (wait > 0)
        usleep((useconds_t)(1e6 * wait));
    alarm(DEADLINE);

    began = now();
    open_rados();
    connect_to(words);
    connected = now();
    double before = libraries;
    for (size_t i = 0; i < read; i++) {
        if (strcmp(lines[i], "again"))
            run(lines[i]);
        else
            again = now();
    }
    done = now();
    CALL(rados_ioctx_destroy)(pool);
    CALL(rados_shutdown)(cluster);
    closed = now();

    printf("{\"began\": %.6f, \"seconds\": %.6f, \"libraries\": %.6f, \"connecting\": %.6f, \"calls\": %.6f, "
           "\"again\": %.6f, \"closing\": %.6f, \"made\": {",
           began, closed - began, libraries, connected - began - before, done - connected - (libraries - before),
           again > 0 ? done - again : 0, closed - done);
    RADOS(PRINT)
    RBD(PRINT)
    printf("}}\n");
    return 0;
}
