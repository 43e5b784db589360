/* Steps on images: functions of librbd. One image is open at a time. */

#include "limit.h"

#include <pthread.h>

enum { SNAPSHOTS = 1024, WATCHERS = 16, IMAGES = 16384, TRASHED = 256, AT_ONCE = 16 };

/* How much of an image is compared in one call: rust/sr-ceph/src/ceph/changes.rs. */
#define STEP (UINT64_C(16) << 30)

static rbd_image_t image;

/* The options of rust/librbd/src/images.rs, for an image with layering. */
static rbd_image_options_t options(const char *data_pool, int is_clone)
{
    static const uint64_t numbers[][2] = {
        {RBD_IMAGE_OPTION_FORMAT, 2},
        {RBD_IMAGE_OPTION_FEATURES, 1},
        {RBD_IMAGE_OPTION_ORDER, 22},
        {RBD_IMAGE_OPTION_STRIPE_UNIT, 4 << 20},
        {RBD_IMAGE_OPTION_STRIPE_COUNT, 1},
        {RBD_IMAGE_OPTION_CLONE_FORMAT, 2},
    };
    rbd_image_options_t made;
    CALL(rbd_image_options_create)(&made);
    for (int i = 0; i < 5 + is_clone; i++)
        NEED(rbd_image_options_set_uint64, made, (int)numbers[i][0], numbers[i][1]);
    NEED(rbd_image_options_set_string, made, RBD_IMAGE_OPTION_DATA_POOL, data_pool);
    return made;
}

/* create IMAGE SIZE DATA_POOL */
void do_create(char **words, int count)
{
    open_rbd();
    rbd_image_options_t of = options(count > 2 ? words[2] : pool_name, 0);
    NEED(rbd_create4, pool, words[0], strtoull(words[1], NULL, 10), of);
    CALL(rbd_image_options_destroy)(of);
}

/* clone PARENT SNAPSHOT IMAGE DATA_POOL */
void do_clone(char **words, int count)
{
    open_rbd();
    rbd_image_options_t of = options(count > 3 ? words[3] : pool_name, 1);
    NEED(rbd_clone3, pool, words[0], words[1], pool, words[2], of);
    CALL(rbd_image_options_destroy)(of);
}

/* open ID */
void do_open(char **words, int count)
{
    open_rbd();
    NEED(rbd_open_by_id, pool, words[0], &image, NULL);
    (void)count;
}

/* view ID: opens it read-only */
void do_view(char **words, int count)
{
    open_rbd();
    NEED(rbd_open_by_id_read_only, pool, words[0], &image, NULL);
    (void)count;
}

/* close */
void do_close(char **words, int count)
{
    NEED(rbd_close, image);
    (void)words, (void)count;
}

static int ignored(uint64_t done, uint64_t total, void *of)
{
    (void)done, (void)total, (void)of;
    return 0;
}

/* resize SIZE */
void do_resize(char **words, int count)
{
    NEED(rbd_resize2, image, strtoull(words[0], NULL, 10), false, ignored, NULL);
    (void)count;
}

static void snapshot(rbd_image_t of, const char *name)
{
    uint64_t id;
    NEED(rbd_snap_create, of, name);
    NEED(rbd_snap_get_id, of, name, &id);
}

/* snap SNAPSHOT */
void do_snap(char **words, int count)
{
    snapshot(image, words[0]);
    (void)count;
}

/* Of one of several images: its id and the name. */
static void *take(void *words)
{
    rbd_image_t of;
    NEED(rbd_open_by_id, pool, ((char **)words)[0], &of, NULL);
    snapshot(of, ((char **)words)[1]);
    NEED(rbd_close, of);
    return NULL;
}

/* snapshots ID SNAPSHOT [ID SNAPSHOT]...: all at once */
void do_snapshots(char **words, int count)
{
    pthread_t threads[AT_ONCE];
    int started = 0;
    open_rbd();
    for (int i = 0; i + 1 < count && started < AT_ONCE; i += 2)
        need("pthread_create", -pthread_create(&threads[started++], NULL, take, words + i));
    while (started)
        pthread_join(threads[--started], NULL);
}

/* snaps: lists the image's snapshots, each with its kind */
void do_snaps(char **words, int count)
{
    static rbd_snap_info_t found[SNAPSHOTS];
    int most = SNAPSHOTS;
    long number = NEED(rbd_snap_list, image, found, &most);
    for (long i = 0; i < number; i++) {
        rbd_snap_namespace_type_t kind;
        NEED(rbd_snap_get_namespace_type, image, found[i].id, &kind);
    }
    CALL(rbd_snap_list_end)(found);
    (void)words, (void)count;
}

/* at SNAPSHOT_ID */
void do_at(char **words, int count)
{
    NEED(rbd_snap_set_by_id, image, strtoull(words[0], NULL, 10));
    (void)count;
}

/* The comparison that is under way. */
static struct {
    const char *since;
    uint64_t next, length;
    uint8_t whole;
} diff;

static int seen(uint64_t offset, size_t length, int exists, void *sum)
{
    (void)offset, (void)exists;
    __atomic_add_fetch((uint64_t *)sum, length, __ATOMIC_RELAXED);
    return 0;
}

static void *compare(void *sum)
{
    for (;;) {
        uint64_t at = __atomic_fetch_add(&diff.next, STEP, __ATOMIC_RELAXED);
        if (at >= diff.length)
            return NULL;
        uint64_t length = diff.length - at < STEP ? diff.length - at : STEP;
        NEED(rbd_diff_iterate2, image, diff.since, at, length, 0, diff.whole, seen, sum);
    }
}

/* diff SNAPSHOT LENGTH THREADS WHOLE: what changed since the snapshot, by several threads; WHOLE: 1 for whole objects */
void do_diff(char **words, int count)
{
    pthread_t threads[AT_ONCE];
    int more = 0, most = atoi(words[2]) - 1;
    uint64_t sum = 0;
    diff.since = words[0];
    diff.next = 0;
    diff.length = strtoull(words[1], NULL, 10);
    diff.whole = (uint8_t)(count > 3 && atoi(words[3]));
    while (more < most && more < AT_ONCE && STEP * (uint64_t)(more + 1) < diff.length)
        need("pthread_create", -pthread_create(&threads[more++], NULL, compare, &sum));
    compare(&sum);
    while (more)
        pthread_join(threads[--more], NULL);
}

/* watchers */
void do_watchers(char **words, int count)
{
    rbd_image_watcher_t found[WATCHERS];
    size_t number = WATCHERS;
    NEED(rbd_watchers_list, image, found, &number);
    CALL(rbd_watchers_list_cleanup)(found, number);
    (void)words, (void)count;
}

/* directory: the pool's images */
void do_directory(char **words, int count)
{
    static rbd_image_spec_t found[IMAGES];
    size_t number = IMAGES;
    open_rbd();
    NEED(rbd_list2, pool, found, &number);
    for (listed_count = 0; listed_count < LISTED && (size_t)listed_count < number; listed_count++)
        snprintf(listed[listed_count], sizeof listed[0], "%s", found[listed_count].id);
    CALL(rbd_image_spec_list_cleanup)(found, number);
    (void)words, (void)count;
}

/* trash: lists it */
void do_trash(char **words, int count)
{
    static rbd_trash_image_info_t found[TRASHED];
    size_t number = TRASHED;
    open_rbd();
    NEED(rbd_trash_list, pool, found, &number);
    CALL(rbd_trash_list_cleanup)(found, number);
    (void)words, (void)count;
}

/* trash_move IMAGE */
void do_trash_move(char **words, int count)
{
    open_rbd();
    NEED(rbd_trash_move, pool, words[0], 0);
    (void)count;
}
