//! Safe code only: `rados_stat_pool` of the crate `ceph` writes past its own struct.
//!
//! The crate's struct has 12 numbers; librados has filled in 16 since Nautilus, the last four into
//! the memory after it on the stack. Arguments: CONF USER POOL.
#![forbid(unsafe_code)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, conf, user, pool] = &arguments[..] else {
        return Err("arguments: CONF USER POOL".into());
    };
    let connection = ceph::ceph::connect_to_ceph(user, conf)?;
    let pool = connection.get_rados_ioctx(pool)?;
    eprintln!("connected; asking for the pool's statistics");
    let statistics = pool.rados_stat_pool()?;
    eprintln!("reply: {} objects", statistics.num_objects);
    Ok(())
}
