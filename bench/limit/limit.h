/* What the files of the program share. main.c states what it is. */

#include <errno.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RADOS(F) \
    F(rados_create2) F(rados_conf_read_file) F(rados_conf_set) F(rados_connect) F(rados_shutdown) \
    F(rados_ioctx_create) F(rados_ioctx_destroy) F(rados_set_pool_full_try) F(rados_mon_command) F(rados_mgr_command) \
    F(rados_buffer_free) F(rados_stat) F(rados_exec) F(rados_create_read_op) F(rados_release_read_op) \
    F(rados_read_op_assert_exists) F(rados_read_op_omap_get_vals2) F(rados_read_op_omap_get_vals_by_keys) \
    F(rados_read_op_operate) F(rados_omap_get_next2) F(rados_omap_get_end) F(rados_create_write_op) \
    F(rados_release_write_op) F(rados_write_op_assert_exists) F(rados_write_op_omap_cmp) F(rados_write_op_omap_set) \
    F(rados_write_op_omap_rm_keys) F(rados_write_op_exec) F(rados_write_op_operate) F(rados_object_list_begin) \
    F(rados_object_list_end) F(rados_object_list_slice) F(rados_object_list_cursor_cmp) F(rados_object_list) \
    F(rados_object_list_free) F(rados_object_list_cursor_free)
#define RBD(F) \
    F(rbd_image_options_create) F(rbd_image_options_destroy) F(rbd_image_options_set_uint64) \
    F(rbd_image_options_set_string) F(rbd_create4) F(rbd_clone3) F(rbd_open_by_id) F(rbd_open_by_id_read_only) \
    F(rbd_close) F(rbd_resize2) F(rbd_snap_create) F(rbd_snap_get_id) F(rbd_snap_list) F(rbd_snap_list_end) \
    F(rbd_snap_get_namespace_type) F(rbd_snap_set_by_id) F(rbd_diff_iterate2) F(rbd_watchers_list) \
    F(rbd_watchers_list_cleanup) F(rbd_list2) F(rbd_image_spec_list_cleanup) F(rbd_trash_list) \
    F(rbd_trash_list_cleanup) F(rbd_trash_move)

/* Each function of the libraries, and how often it was called. */
#define DECLARE(name) \
    extern __typeof__(&name) p_##name; \
    extern unsigned long n_##name;
RADOS(DECLARE)
RBD(DECLARE)
#define CALL(name) (__atomic_add_fetch(&n_##name, 1, __ATOMIC_RELAXED), p_##name)

/* Calls a function, and ends the program if it fails. */
#define NEED(name, ...) need(#name, (long)CALL(name)(__VA_ARGS__))

enum { LISTED = 32 };

extern rados_t cluster;
extern rados_ioctx_t pool;
extern const char *pool_name;
/* The ids of the first images that were listed. */
extern char listed[LISTED][64];
extern int listed_count;

_Noreturn void fail(const char *what, long result);
long need(const char *what, long result);
void open_rbd(void);
/* Keeps a text as `$name`. */
void keep_text(const char *name, const char *text, size_t length);

/* A step: the words after its name, as many as it has. */
typedef void step(char **words, int count);
step do_read, do_list, do_write, do_stat, do_count, do_id, do_header, do_lock, do_meta, do_sizes;
step do_create, do_clone, do_open, do_view, do_close, do_resize, do_snap, do_snapshots, do_snaps, do_at, do_diff;
step do_watchers, do_directory, do_trash, do_trash_move;
