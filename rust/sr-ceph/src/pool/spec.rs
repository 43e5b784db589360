//! How commands of Ceph name a pool, or a namespace of it.

/// As `rbd` takes it in front of an image: `POOL`, or `POOL/NAMESPACE`.
pub(crate) fn spec(pool: &str, namespace: &str) -> String {
    match namespace {
        "" => pool.to_owned(),
        _ => format!("{pool}/{namespace}"),
    }
}

/// As `rbd --pool` and `rados -p` take it: `POOL`, or `POOL --namespace NAMESPACE`.
pub(crate) fn as_option(spec: &str) -> String {
    match spec.split_once('/') {
        None => spec.to_owned(),
        Some((pool, namespace)) => format!("{pool} --namespace {namespace}"),
    }
}

/// The pool of it.
pub(crate) fn pool_of(spec: &str) -> &str {
    spec.split_once('/').map_or(spec, |(pool, _)| pool)
}
