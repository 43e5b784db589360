//! librbd: the functions called and the structures they fill, as declared in `rbd/librbd.h`.

use std::ffi::{c_char, c_int, c_void};

use nix::libc::{ssize_t, time_t};

use super::rados::rados_ioctx_t;

#[allow(non_camel_case_types)]
pub(crate) type rbd_image_t = *mut c_void;
#[allow(non_camel_case_types)]
pub(crate) type rbd_image_options_t = *mut c_void;
#[allow(non_camel_case_types)]
pub(crate) type librbd_progress_fn_t =
    unsafe extern "C" fn(offset: u64, total: u64, ptr: *mut c_void) -> c_int;

// The header has no name for it: int (*)(uint64_t, size_t, int, void *).
#[allow(non_camel_case_types)]
pub(crate) type rbd_diff_callback_t =
    unsafe extern "C" fn(offset: u64, length: usize, exists: c_int, ptr: *mut c_void) -> c_int;

pub(crate) const RBD_IMAGE_OPTION_FORMAT: c_int = 0;
pub(crate) const RBD_IMAGE_OPTION_FEATURES: c_int = 1;
pub(crate) const RBD_IMAGE_OPTION_ORDER: c_int = 2;
pub(crate) const RBD_IMAGE_OPTION_STRIPE_UNIT: c_int = 3;
pub(crate) const RBD_IMAGE_OPTION_STRIPE_COUNT: c_int = 4;
pub(crate) const RBD_IMAGE_OPTION_JOURNAL_ORDER: c_int = 5;
pub(crate) const RBD_IMAGE_OPTION_JOURNAL_SPLAY_WIDTH: c_int = 6;
pub(crate) const RBD_IMAGE_OPTION_JOURNAL_POOL: c_int = 7;
pub(crate) const RBD_IMAGE_OPTION_DATA_POOL: c_int = 10;
pub(crate) const RBD_IMAGE_OPTION_CLONE_FORMAT: c_int = 12;

pub(crate) const RBD_SNAP_NAMESPACE_TYPE_USER: c_int = 0;
pub(crate) const RBD_SNAP_NAMESPACE_TYPE_GROUP: c_int = 1;
pub(crate) const RBD_SNAP_NAMESPACE_TYPE_TRASH: c_int = 2;
pub(crate) const RBD_SNAP_NAMESPACE_TYPE_MIRROR: c_int = 3;

/// The "snapshot id" of an image's head.
pub(crate) const CEPH_NOSNAP: u64 = u64::MAX - 1;

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_image_spec_t {
    pub(crate) id: *mut c_char,
    pub(crate) name: *mut c_char,
}

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_linked_image_spec_t {
    pub(crate) pool_id: i64,
    pub(crate) pool_name: *mut c_char,
    pub(crate) pool_namespace: *mut c_char,
    pub(crate) image_id: *mut c_char,
    pub(crate) image_name: *mut c_char,
    pub(crate) trash: bool,
}

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_snap_spec_t {
    pub(crate) id: u64,
    pub(crate) namespace_type: c_int,
    pub(crate) name: *mut c_char,
}

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_snap_info_t {
    pub(crate) id: u64,
    pub(crate) size: u64,
    pub(crate) name: *const c_char,
}

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_image_info_t {
    pub(crate) size: u64,
    pub(crate) obj_size: u64,
    pub(crate) num_objs: u64,
    pub(crate) order: c_int,
    pub(crate) block_name_prefix: [c_char; 24],
    pub(crate) parent_pool: i64,
    pub(crate) parent_name: [c_char; 96],
}

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_trash_image_info_t {
    pub(crate) id: *mut c_char,
    pub(crate) name: *mut c_char,
    pub(crate) source: c_int,
    pub(crate) deletion_time: time_t,
    pub(crate) deferment_end_time: time_t,
}

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_image_watcher_t {
    pub(crate) addr: *mut c_char,
    pub(crate) id: i64,
    pub(crate) cookie: u64,
}

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_group_info_t {
    pub(crate) name: *mut c_char,
    pub(crate) pool: i64,
}

#[repr(C)]
#[allow(non_camel_case_types)]
pub(crate) struct rbd_snap_group_namespace_t {
    pub(crate) group_pool: i64,
    pub(crate) group_name: *mut c_char,
    pub(crate) group_snap_name: *mut c_char,
}

crate::ffi::function_table! {
    /// The functions of librbd.so.1.
    Rbd
    required {
        fn rbd_image_options_create(opts: *mut rbd_image_options_t);
        fn rbd_image_options_destroy(opts: rbd_image_options_t);
        fn rbd_image_options_set_string(
            opts: rbd_image_options_t, optname: c_int, optval: *const c_char,
        ) -> c_int;
        fn rbd_image_options_set_uint64(
            opts: rbd_image_options_t, optname: c_int, optval: u64,
        ) -> c_int;
        fn rbd_create4(
            io: rados_ioctx_t, name: *const c_char, size: u64, opts: rbd_image_options_t,
        ) -> c_int;
        fn rbd_clone3(
            p_ioctx: rados_ioctx_t, p_name: *const c_char, p_snapname: *const c_char,
            c_ioctx: rados_ioctx_t, c_name: *const c_char, c_opts: rbd_image_options_t,
        ) -> c_int;
        fn rbd_list2(
            io: rados_ioctx_t, images: *mut rbd_image_spec_t, max_images: *mut usize,
        ) -> c_int;
        fn rbd_image_spec_list_cleanup(images: *mut rbd_image_spec_t, num_images: usize);
        fn rbd_open(
            io: rados_ioctx_t, name: *const c_char, image: *mut rbd_image_t,
            snap_name: *const c_char,
        ) -> c_int;
        fn rbd_open_by_id(
            io: rados_ioctx_t, id: *const c_char, image: *mut rbd_image_t, snap_name: *const c_char,
        ) -> c_int;
        fn rbd_open_read_only(
            io: rados_ioctx_t, name: *const c_char, image: *mut rbd_image_t,
            snap_name: *const c_char,
        ) -> c_int;
        fn rbd_open_by_id_read_only(
            io: rados_ioctx_t, id: *const c_char, image: *mut rbd_image_t, snap_name: *const c_char,
        ) -> c_int;
        fn rbd_close(image: rbd_image_t) -> c_int;
        fn rbd_stat(image: rbd_image_t, info: *mut rbd_image_info_t, infosize: usize) -> c_int;
        fn rbd_get_size(image: rbd_image_t, size: *mut u64) -> c_int;
        fn rbd_get_features(image: rbd_image_t, features: *mut u64) -> c_int;
        fn rbd_get_op_features(image: rbd_image_t, op_features: *mut u64) -> c_int;
        fn rbd_get_id(image: rbd_image_t, id: *mut c_char, id_len: usize) -> c_int;
        fn rbd_get_name(image: rbd_image_t, name: *mut c_char, name_len: *mut usize) -> c_int;
        fn rbd_get_block_name_prefix(
            image: rbd_image_t, prefix: *mut c_char, prefix_len: usize,
        ) -> c_int;
        fn rbd_get_parent(
            image: rbd_image_t, parent_image: *mut rbd_linked_image_spec_t,
            parent_snap: *mut rbd_snap_spec_t,
        ) -> c_int;
        fn rbd_linked_image_spec_cleanup(image: *mut rbd_linked_image_spec_t);
        fn rbd_snap_spec_cleanup(snap: *mut rbd_snap_spec_t);
        fn rbd_list_children3(
            image: rbd_image_t, images: *mut rbd_linked_image_spec_t, max_images: *mut usize,
        ) -> c_int;
        fn rbd_linked_image_spec_list_cleanup(
            images: *mut rbd_linked_image_spec_t, num_images: usize,
        );
        fn rbd_flatten_with_progress(
            image: rbd_image_t, cb: librbd_progress_fn_t, cbdata: *mut c_void,
        ) -> c_int;
        fn rbd_resize2(
            image: rbd_image_t, size: u64, allow_shrink: bool, cb: librbd_progress_fn_t,
            cbdata: *mut c_void,
        ) -> c_int;
        fn rbd_snap_create(image: rbd_image_t, snapname: *const c_char) -> c_int;
        fn rbd_snap_remove_by_id(image: rbd_image_t, snap_id: u64) -> c_int;
        fn rbd_snap_protect(image: rbd_image_t, snap_name: *const c_char) -> c_int;
        fn rbd_snap_unprotect(image: rbd_image_t, snap_name: *const c_char) -> c_int;
        fn rbd_rename(
            src_io_ctx: rados_ioctx_t, srcname: *const c_char, destname: *const c_char,
        ) -> c_int;
        fn rbd_snap_list(
            image: rbd_image_t, snaps: *mut rbd_snap_info_t, max_snaps: *mut c_int,
        ) -> c_int;
        fn rbd_snap_list_end(snaps: *mut rbd_snap_info_t);
        fn rbd_snap_get_namespace_type(
            image: rbd_image_t, snap_id: u64, namespace_type: *mut c_int,
        ) -> c_int;
        fn rbd_snap_get_trash_namespace(
            image: rbd_image_t, snap_id: u64, original_name: *mut c_char, max_length: usize,
        ) -> c_int;
        fn rbd_diff_iterate2(
            image: rbd_image_t, fromsnapname: *const c_char, ofs: u64, len: u64,
            include_parent: u8, whole_object: u8, cb: rbd_diff_callback_t, arg: *mut c_void,
        ) -> c_int;
        fn rbd_snap_get_limit(image: rbd_image_t, limit: *mut u64) -> c_int;
        fn rbd_list_lockers(
            image: rbd_image_t, exclusive: *mut c_int, tag: *mut c_char, tag_len: *mut usize,
            clients: *mut c_char, clients_len: *mut usize, cookies: *mut c_char,
            cookies_len: *mut usize, addrs: *mut c_char, addrs_len: *mut usize,
        ) -> ssize_t;
        fn rbd_snap_set_by_id(image: rbd_image_t, snap_id: u64) -> c_int;
        fn rbd_metadata_get(
            image: rbd_image_t, key: *const c_char, value: *mut c_char, val_len: *mut usize,
        ) -> c_int;
        fn rbd_metadata_set(image: rbd_image_t, key: *const c_char, value: *const c_char) -> c_int;
        fn rbd_metadata_remove(image: rbd_image_t, key: *const c_char) -> c_int;
        fn rbd_metadata_list(
            image: rbd_image_t, start: *const c_char, max: u64, keys: *mut c_char,
            key_len: *mut usize, values: *mut c_char, vals_len: *mut usize,
        ) -> c_int;
        fn rbd_watchers_list(
            image: rbd_image_t, watchers: *mut rbd_image_watcher_t, max_watchers: *mut usize,
        ) -> c_int;
        fn rbd_watchers_list_cleanup(watchers: *mut rbd_image_watcher_t, num_watchers: usize);
        fn rbd_read(image: rbd_image_t, ofs: u64, len: usize, buf: *mut c_char) -> ssize_t;
        fn rbd_write(image: rbd_image_t, ofs: u64, len: usize, buf: *const c_char) -> ssize_t;
        fn rbd_flush(image: rbd_image_t) -> c_int;
        fn rbd_discard(image: rbd_image_t, ofs: u64, len: u64) -> c_int;
        fn rbd_trash_move(io: rados_ioctx_t, name: *const c_char, delay: u64) -> c_int;
        fn rbd_trash_list(
            io: rados_ioctx_t, trash_entries: *mut rbd_trash_image_info_t, num_entries: *mut usize,
        ) -> c_int;
        fn rbd_trash_list_cleanup(trash_entries: *mut rbd_trash_image_info_t, num_entries: usize);
        fn rbd_trash_remove_with_progress(
            io: rados_ioctx_t, id: *const c_char, force: bool, cb: librbd_progress_fn_t,
            cbdata: *mut c_void,
        ) -> c_int;
        fn rbd_get_group(
            image: rbd_image_t, group_info: *mut rbd_group_info_t, group_info_size: usize,
        ) -> c_int;
        fn rbd_group_info_cleanup(
            group_info: *mut rbd_group_info_t, group_info_size: usize,
        ) -> c_int;
        fn rbd_snap_get_group_namespace(
            image: rbd_image_t, snap_id: u64, group_snap: *mut rbd_snap_group_namespace_t,
            group_snap_size: usize,
        ) -> c_int;
        fn rbd_snap_group_namespace_cleanup(
            group_spec: *mut rbd_snap_group_namespace_t, group_snap_size: usize,
        ) -> c_int;
        fn rbd_group_image_remove_by_id(
            group_p: rados_ioctx_t, group_name: *const c_char, image_p: rados_ioctx_t,
            image_id: *const c_char,
        ) -> c_int;
        fn rbd_trash_restore(io: rados_ioctx_t, id: *const c_char, name: *const c_char) -> c_int;
    }
    optional {
        fn rbd_snap_get_id(image: rbd_image_t, snapname: *const c_char, snap_id: *mut u64) -> c_int;
    }
}
