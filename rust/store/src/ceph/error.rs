//! Errors of librbd, as those of a cluster.

use librbd::Error;

use crate::cluster::ClusterError;

impl From<Error> for ClusterError {
    fn from(error: Error) -> Self {
        match error {
            Error::Call {
                call,
                object,
                errno,
                detail,
            } => ClusterError {
                call: call.to_owned(),
                object,
                errno,
                detail,
            },
            Error::SnapshotLimit { ref image, .. } => ClusterError {
                call: ClusterError::SNAPSHOT.to_owned(),
                object: image.clone(),
                errno: 0,
                detail: Some(error.to_string()),
            },
            other => ClusterError {
                call: "librbd".to_owned(),
                object: "this host".to_owned(),
                errno: other.errno().unwrap_or(0),
                detail: Some(other.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_an_images_snapshots_is_no_lack_of_room() {
        let error = ClusterError::from(Error::SnapshotLimit {
            image: "vms/a".to_owned(),
            limit: 3,
        });
        assert!(!error.is_full() && error.is_about_image() && !error.is_unknown());
        let text = error.to_string();
        assert!(text.contains("rbd snap limit clear vms/a"), "{text}");
    }
}
