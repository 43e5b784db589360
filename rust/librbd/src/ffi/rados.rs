//! librados: the functions called, as declared in `rados/librados.h`.

use std::ffi::{c_char, c_int, c_uchar, c_void};

use nix::libc::time_t;

#[allow(non_camel_case_types)]
pub(crate) type rados_t = *mut c_void;
#[allow(non_camel_case_types)]
pub(crate) type rados_ioctx_t = *mut c_void;
#[allow(non_camel_case_types)]
pub(crate) type rados_write_op_t = *mut c_void;
#[allow(non_camel_case_types)]
pub(crate) type rados_read_op_t = *mut c_void;
#[allow(non_camel_case_types)]
pub(crate) type rados_omap_iter_t = *mut c_void;
#[allow(non_camel_case_types)]
pub(crate) type rados_object_list_cursor = *mut c_void;

#[allow(non_camel_case_types)]
#[repr(C)]
pub(crate) struct rados_object_list_item {
    pub(crate) oid_length: usize,
    pub(crate) oid: *mut c_char,
    pub(crate) nspace_length: usize,
    pub(crate) nspace: *mut c_char,
    pub(crate) locator_length: usize,
    pub(crate) locator: *mut c_char,
}

/// `rados_write_op_create`: fail with EEXIST if the object exists.
pub(crate) const LIBRADOS_CREATE_EXCLUSIVE: c_int = 1;
/// `rados_write_op_omap_cmp`: the value must be equal.
pub(crate) const LIBRADOS_CMPXATTR_OP_EQ: u8 = 1;

crate::ffi::function_table! {
    /// The functions of librados.so.2.
    Rados
    required {
        fn rados_create2(
            pcluster: *mut rados_t, clustername: *const c_char, name: *const c_char, flags: u64,
        ) -> c_int;
        fn rados_conf_read_file(cluster: rados_t, path: *const c_char) -> c_int;
        fn rados_conf_set(cluster: rados_t, option: *const c_char, value: *const c_char) -> c_int;
        fn rados_conf_get(
            cluster: rados_t, option: *const c_char, buf: *mut c_char, len: usize,
        ) -> c_int;
        fn rados_connect(cluster: rados_t) -> c_int;
        fn rados_shutdown(cluster: rados_t);
        fn rados_cluster_fsid(cluster: rados_t, buf: *mut c_char, len: usize) -> c_int;
        fn rados_get_instance_id(cluster: rados_t) -> u64;
        fn rados_mon_command(
            cluster: rados_t, cmd: *mut *const c_char, cmdlen: usize, inbuf: *const c_char,
            inbuflen: usize, outbuf: *mut *mut c_char, outbuflen: *mut usize,
            outs: *mut *mut c_char, outslen: *mut usize,
        ) -> c_int;
        fn rados_mgr_command(
            cluster: rados_t, cmd: *mut *const c_char, cmdlen: usize, inbuf: *const c_char,
            inbuflen: usize, outbuf: *mut *mut c_char, outbuflen: *mut usize,
            outs: *mut *mut c_char, outslen: *mut usize,
        ) -> c_int;
        fn rados_buffer_free(buf: *mut c_char);
        fn rados_pool_list(cluster: rados_t, buf: *mut c_char, len: usize) -> c_int;
        fn rados_pool_reverse_lookup(
            cluster: rados_t, id: i64, buf: *mut c_char, maxlen: usize,
        ) -> c_int;
        fn rados_ioctx_create(
            cluster: rados_t, pool_name: *const c_char, ioctx: *mut rados_ioctx_t,
        ) -> c_int;
        fn rados_ioctx_destroy(io: rados_ioctx_t);
        fn rados_ioctx_get_id(io: rados_ioctx_t) -> i64;
        fn rados_ioctx_set_namespace(io: rados_ioctx_t, nspace: *const c_char);
        fn rados_set_osdmap_full_try(io: rados_ioctx_t);
        fn rados_stat(
            io: rados_ioctx_t, o: *const c_char, psize: *mut u64, pmtime: *mut time_t,
        ) -> c_int;
        fn rados_remove(io: rados_ioctx_t, oid: *const c_char) -> c_int;
        fn rados_exec(
            io: rados_ioctx_t, oid: *const c_char, cls: *const c_char, method: *const c_char,
            in_buf: *const c_char, in_len: usize, buf: *mut c_char, out_len: usize,
        ) -> c_int;
        fn rados_create_write_op() -> rados_write_op_t;
        fn rados_release_write_op(write_op: rados_write_op_t);
        fn rados_write_op_create(
            write_op: rados_write_op_t, exclusive: c_int, category: *const c_char,
        );
        fn rados_write_op_assert_exists(write_op: rados_write_op_t);
        fn rados_write_op_remove(write_op: rados_write_op_t);
        fn rados_write_op_omap_cmp(
            write_op: rados_write_op_t, key: *const c_char, comparison_operator: u8,
            val: *const c_char, val_len: usize, prval: *mut c_int,
        );
        fn rados_write_op_omap_set(
            write_op: rados_write_op_t, keys: *const *const c_char, vals: *const *const c_char,
            lens: *const usize, num: usize,
        );
        fn rados_write_op_exec(
            write_op: rados_write_op_t, cls: *const c_char, method: *const c_char,
            in_buf: *const c_char, in_len: usize, prval: *mut c_int,
        );
        fn rados_write_op_omap_rm_keys(
            write_op: rados_write_op_t, keys: *const *const c_char, keys_len: usize,
        );
        fn rados_write_op_operate(
            write_op: rados_write_op_t, io: rados_ioctx_t, oid: *const c_char, mtime: *mut time_t,
            flags: c_int,
        ) -> c_int;
        fn rados_create_read_op() -> rados_read_op_t;
        fn rados_release_read_op(read_op: rados_read_op_t);
        fn rados_read_op_assert_exists(read_op: rados_read_op_t);
        fn rados_read_op_omap_get_vals2(
            read_op: rados_read_op_t, start_after: *const c_char, filter_prefix: *const c_char,
            max_return: u64, iter: *mut rados_omap_iter_t, pmore: *mut c_uchar, prval: *mut c_int,
        );
        fn rados_read_op_omap_get_vals_by_keys(
            read_op: rados_read_op_t, keys: *const *const c_char, keys_len: usize,
            iter: *mut rados_omap_iter_t, prval: *mut c_int,
        );
        fn rados_read_op_operate(
            read_op: rados_read_op_t, io: rados_ioctx_t, oid: *const c_char, flags: c_int,
        ) -> c_int;
        fn rados_omap_get_next2(
            iter: rados_omap_iter_t, key: *mut *mut c_char, val: *mut *mut c_char,
            key_len: *mut usize, val_len: *mut usize,
        ) -> c_int;
        fn rados_omap_get_end(iter: rados_omap_iter_t);
        fn rados_object_list_begin(io: rados_ioctx_t) -> rados_object_list_cursor;
        fn rados_object_list_end(io: rados_ioctx_t) -> rados_object_list_cursor;
        fn rados_object_list_cursor_free(io: rados_ioctx_t, cur: rados_object_list_cursor);
        fn rados_object_list_cursor_cmp(
            io: rados_ioctx_t, lhs: rados_object_list_cursor, rhs: rados_object_list_cursor,
        ) -> c_int;
        fn rados_object_list_slice(
            io: rados_ioctx_t, start: rados_object_list_cursor, finish: rados_object_list_cursor,
            n: usize, m: usize, split_start: *mut rados_object_list_cursor,
            split_finish: *mut rados_object_list_cursor,
        );
        fn rados_object_list(
            io: rados_ioctx_t, start: rados_object_list_cursor, finish: rados_object_list_cursor,
            result_size: usize, filter_buf: *const c_char, filter_buf_len: usize,
            results: *mut rados_object_list_item, next: *mut rados_object_list_cursor,
        ) -> c_int;
        fn rados_object_list_free(result_size: usize, results: *mut rados_object_list_item);
    }
    optional {
        fn rados_getaddrs(cluster: rados_t, addrs: *mut *mut c_char) -> c_int;
        fn rados_set_pool_full_try(io: rados_ioctx_t);
        fn rados_blocklist_add(
            cluster: rados_t, client_address: *mut c_char, expire_seconds: u32,
        ) -> c_int;
        fn rados_blacklist_add(
            cluster: rados_t, client_address: *mut c_char, expire_seconds: u32,
        ) -> c_int;
    }
}
