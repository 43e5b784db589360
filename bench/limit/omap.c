/* Steps on objects: their omaps, methods of class rbd for headers of images, and the list of all objects. */

#include "limit.h"

enum { KEYS = 512, CHANGES = 64, BATCH = 4096 };

/* The values that were read or written last. */
static struct {
    char key[128], *value;
    size_t length;
} values[KEYS];
static size_t value_count;

static size_t value_of(const char *key)
{
    for (size_t i = 0; i < value_count; i++)
        if (!strcmp(values[i].key, key))
            return i;
    if (value_count == KEYS || strlen(key) >= sizeof values->key)
        fail("too many keys", 0);
    strcpy(values[value_count].key, key);
    return value_count++;
}

static void keep(const char *key, const char *value, size_t length)
{
    size_t i = value_of(key);
    free(values[i].value);
    values[i].value = malloc(length + 1);
    values[i].length = length;
    memcpy(values[i].value, value, length);
}

/* Executes a read of pairs, and keeps them if they were asked for by key. Returns the last key, or NULL. */
static char *pairs(rados_read_op_t op, const char *object, rados_omap_iter_t *found, int is_kept)
{
    char *key, *value, *last = NULL;
    size_t key_length, length;
    NEED(rados_read_op_operate, op, pool, object, 0);
    for (;;) {
        NEED(rados_omap_get_next2, *found, &key, &value, &key_length, &length);
        if (!key)
            break;
        if (is_kept)
            keep(key, value, length);
        free(last);
        last = strndup(key, key_length);
    }
    CALL(rados_omap_get_end)(*found);
    CALL(rados_release_read_op)(op);
    return last;
}

/* read OBJECT KEY... */
void do_read(char **words, int count)
{
    rados_omap_iter_t found;
    int code;
    rados_read_op_t op = CALL(rados_create_read_op)();
    for (int i = 1; i < count; i++)
        keep(words[i], "", 0);
    CALL(rados_read_op_assert_exists)(op);
    CALL(rados_read_op_omap_get_vals_by_keys)(op, (const char *const *)words + 1, (size_t)count - 1, &found, &code);
    free(pairs(op, words[0], &found, 1));
}

/* list OBJECT: all its pairs, in pages */
void do_list(char **words, int count)
{
    unsigned char more = 1;
    char *last = NULL;
    while (more && count) {
        rados_omap_iter_t found;
        int code;
        char *after = last;
        rados_read_op_t op = CALL(rados_create_read_op)();
        CALL(rados_read_op_assert_exists)(op);
        CALL(rados_read_op_omap_get_vals2)(op, after ? after : "", "", UINT64_MAX, &found, &more, &code);
        last = pairs(op, words[0], &found, 0);
        free(after);
    }
    free(last);
}

/* write OBJECT CHANGE...: `=KEY` expects the value that was read or written last, `+KEY:LENGTH` sets a value of so
 * many bytes, `~KEY` sets the value that was read, `-KEY` removes the key. */
void do_write(char **words, int count)
{
    static char filling[4096];
    const char *set[CHANGES], *to[CHANGES], *removed[CHANGES];
    size_t lengths[CHANGES], set_count = 0, removed_count = 0;
    rados_write_op_t op = CALL(rados_create_write_op)();
    memset(filling, 'v', sizeof filling);
    CALL(rados_write_op_assert_exists)(op);
    for (int i = 1; i < count; i++) {
        char *key = words[i] + 1, *colon = strchr(key, ':');
        if (*words[i] == '=') {
            size_t at = value_of(key), length = values[at].length;
            CALL(rados_write_op_omap_cmp)(op, key, LIBRADOS_CMPXATTR_OP_EQ, values[at].value, length, NULL);
        }
        if (*words[i] == '+' && colon) {
            *colon = 0;
            keep(key, filling, (size_t)atoi(colon + 1) % sizeof filling);
        }
        if (set_count == CHANGES || removed_count == CHANGES)
            fail("too many changes", 0);
        if (*words[i] == '+' || *words[i] == '~') {
            size_t at = value_of(key);
            set[set_count] = key;
            to[set_count] = values[at].value;
            lengths[set_count++] = values[at].length;
        }
        if (*words[i] == '-')
            removed[removed_count++] = key;
    }
    if (set_count)
        CALL(rados_write_op_omap_set)(op, set, to, lengths, set_count);
    if (removed_count)
        CALL(rados_write_op_omap_rm_keys)(op, removed, removed_count);
    NEED(rados_write_op_operate, op, pool, words[0], NULL, 0);
    CALL(rados_release_write_op)(op);
    for (size_t i = 0; i < removed_count; i++)
        keep(removed[i], "", 0);
}

/* stat OBJECT: which need not exist */
void do_stat(char **words, int count)
{
    uint64_t size;
    time_t changed;
    int found = CALL(rados_stat)(pool, words[0], &size, &changed);
    if (count && found != -ENOENT)
        need("rados_stat", found);
}

/* Calls a method of a class. Keeps the text of its reply, if that has a name. */
static void method(const char *object, const char *class, const char *what, const char *in, size_t length, char *name)
{
    char reply[4096];
    long got = need(what, CALL(rados_exec)(pool, object, class, what, in, length, reply, sizeof reply));
    if (name && got >= 4)
        keep_text(name, reply + 4, (size_t)got - 4);
}

static void header(const char *id, const char *class, const char *what, const char *in, size_t length, char *name)
{
    char object[128];
    snprintf(object, sizeof object, "rbd_header.%.64s", id);
    method(object, class, what, in, length, name);
}

/* id IMAGE NAME */
void do_id(char **words, int count)
{
    char object[256];
    snprintf(object, sizeof object, "rbd_id.%s", words[0]);
    method(object, "rbd", "get_id", NULL, 0, count > 1 ? words[1] : NULL);
}

/* header ID METHOD [SNAPSHOT [NAME]]: `get_features` has one more byte */
void do_header(char **words, int count)
{
    uint64_t snapshot = count > 2 ? strtoull(words[2], NULL, 10) : 0;
    char in[9] = {0};
    size_t length = strcmp(words[1], "get_features") ? sizeof snapshot : sizeof in;
    memcpy(in, &snapshot, sizeof snapshot);
    in[8] = 1;
    header(words[0], "rbd", words[1], in, count > 2 ? length : 0, count > 3 ? words[3] : NULL);
}

/* lock ID: reads it */
void do_lock(char **words, int count)
{
    static const char name[] = "\1\1\14\0\0\0\10\0\0\0rbd_lock";
    header(words[0], "lock", "get_info", name, count ? sizeof name - 1 : 0, NULL);
}

/* meta ID LENGTH: the driver's image-meta, of so many bytes */
void do_meta(char **words, int count)
{
    char object[128], pair[4096] = "\1\0\0\0\7\0\0\0smblock";
    uint32_t length = count > 1 ? (uint32_t)atoi(words[1]) % 2048 : 0;
    snprintf(object, sizeof object, "rbd_header.%.64s", words[0]);
    memcpy(pair + 15, &length, sizeof length);
    memset(pair + 19, 'm', length);
    rados_write_op_t op = CALL(rados_create_write_op)();
    CALL(rados_write_op_exec)(op, "rbd", "metadata_set", pair, length + 19, NULL);
    NEED(rados_write_op_operate, op, pool, object, NULL, 0);
    CALL(rados_release_write_op)(op);
}

/* sizes: of the first images of the directory */
void do_sizes(char **words, int count)
{
    uint64_t head = UINT64_MAX - 1;
    for (int i = 0; i < listed_count && words && !count; i++)
        header(listed[i], "rbd", "get_size", (const char *)&head, sizeof head, NULL);
}

/* count PARTS: all objects of the pool, in so many parts */
void do_count(char **words, int count)
{
    static rados_object_list_item items[BATCH];
    size_t parts = count ? (size_t)atoi(words[0]) : 1;
    rados_object_list_cursor start = CALL(rados_object_list_begin)(pool), finish = CALL(rados_object_list_end)(pool);
    for (size_t part = 0; part < parts; part++) {
        rados_object_list_cursor at = CALL(rados_object_list_begin)(pool), end = CALL(rados_object_list_begin)(pool);
        CALL(rados_object_list_slice)(pool, start, finish, part, parts, &at, &end);
        while (CALL(rados_object_list_cursor_cmp)(pool, at, end) < 0) {
            rados_object_list_cursor next = CALL(rados_object_list_begin)(pool);
            long found = NEED(rados_object_list, pool, at, end, BATCH, NULL, 0, items, &next);
            CALL(rados_object_list_free)((size_t)found, items);
            CALL(rados_object_list_cursor_free)(pool, at);
            at = next;
        }
        CALL(rados_object_list_cursor_free)(pool, at);
        CALL(rados_object_list_cursor_free)(pool, end);
    }
    CALL(rados_object_list_cursor_free)(pool, start);
    CALL(rados_object_list_cursor_free)(pool, finish);
}
