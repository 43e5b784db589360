//! The keys of the device-config, as an administrator reads them.

use sr::engine::ConfigKey;

use crate::device_config::{DEFAULT_CONF, DEFAULT_USER};

pub(super) const CONFIG_KEYS: [ConfigKey; 15] = [
    ConfigKey::new("pool", "Ceph pool that holds the disks (required)"),
    ConfigKey::new(
        "namespace",
        "RADOS namespace of the pool, which must exist (default: none)",
    ),
    ConfigKey::new(
        "data_pool",
        "Ceph pool for the data of new disks, which may be erasure coded (default: the pool itself)",
    ),
    ConfigKey::new("ceph_conf", "Ceph's configuration file on each host")
        .or(&["conf"])
        .default(DEFAULT_CONF),
    ConfigKey::new("ceph_user", "cephx user without 'client.'")
        .or(&["user"])
        .default(DEFAULT_USER),
    ConfigKey::new(
        "keyring",
        "file with that user's key (default: as in Ceph's configuration)",
    ),
    ConfigKey::new(
        "mon_host",
        "the monitors' addresses (default: those in Ceph's configuration file)",
    ),
    ConfigKey::new("datapath", "aio (tapdisk) or phy (blkback)").default("aio"),
    ConfigKey::new("image_features", "features of new images").default("layering,exclusive-lock"),
    ConfigKey::new("object_size", "size of the objects of new images").default("4MiB"),
    ConfigKey::new(
        "stripe_unit",
        "how much data of new images goes to one object before the next (default: object_size)",
    ),
    ConfigKey::new(
        "stripe_count",
        "over how many objects the data of new images is striped; needs stripe_unit (default: no stripes)",
    ),
    ConfigKey::new(
        "ms_mode",
        "how kernels connect to Ceph: legacy, crc, secure, prefer-crc or prefer-secure (default: by kernel)",
    ),
    ConfigKey::IOPS,
    ConfigKey::MBPS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_config::{DeviceConfig, VALID_KEYS};

    #[test]
    fn every_key_that_is_accepted_is_described_and_no_other() {
        let described: Vec<_> = CONFIG_KEYS
            .iter()
            .flat_map(|key| [key.name].into_iter().chain(key.aliases.iter().copied()))
            .collect();
        assert_eq!(described, VALID_KEYS);
    }

    #[test]
    fn a_default_is_what_leaving_the_key_out_means() {
        let pool = ("pool".to_owned(), "vms".to_owned());
        let meaning = |pairs: Vec<(String, String)>| {
            let config = DeviceConfig::parse(pairs).map_err(|e| e.to_string())?;
            let conf = config.ceph_conf().map(ToOwned::to_owned);
            let user = config.user().to_owned();
            Ok::<_, String>((conf, user, config.datapath(), config.image_format()))
        };
        for key in CONFIG_KEYS {
            for name in [key.name].iter().chain(key.aliases) {
                if let Some(value) = key.default {
                    let given = ((*name).to_owned(), value.to_owned());
                    let given = meaning(vec![pool.clone(), given]);
                    assert_eq!(given, meaning(vec![pool.clone()]), "{name}");
                }
            }
        }
    }
}
