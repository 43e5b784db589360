//! Safe code only: an `IoCtx` of the crate `ceph` may outlive the connection that it points into.
//!
//! The types do not connect the two, so the compiler accepts this. Arguments: CONF USER POOL.
#![forbid(unsafe_code)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, conf, user, pool] = &arguments[..] else {
        return Err("arguments: CONF USER POOL".into());
    };
    let pool = {
        let connection = ceph::ceph::connect_to_ceph(user, conf)?;
        connection.get_rados_ioctx(pool)?
    };
    eprintln!("the connection is gone; reading through the pool that is left");
    let read = pool.rados_object_stat("no-such-object");
    eprintln!("reply: {read:?}");
    Ok(())
}
