use std::collections::BTreeMap;

use sr::engine::{AdoptionRequest, Capability, OnBoot, SrName};
use sr::xapi::XapiFields;

use super::*;

const VDI: Uuid = Uuid::from_u128(1);
const NAME: SrName<'_> = SrName {
    label: "",
    description: "",
};

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// Returns an SR of each type without storage. Every operation that the type has fails at once.
fn engines() -> Vec<Box<dyn Engine>> {
    pyo3::prepare_freethreaded_python();
    let nothing = || Python::with_gil(|py| py.None());
    let missing = "/nonexistent/smblock-test";
    let ceph = pairs(&[("pool", "vms"), ("ceph_conf", missing)]);
    let crucible = pairs(&[("volumes", missing), ("server", missing)]);
    [("cephrbd", ceph), ("crucible", crucible)]
        .map(|(name, config)| {
            open(name, Uuid::nil(), "host".to_owned(), config, nothing()).unwrap()
        })
        .into()
}

/// An operation that needs a capability which some type lacks.
type Operation = fn(&dyn Engine) -> sr::engine::Result<()>;

fn operations() -> BTreeMap<&'static str, Operation> {
    let mut operations = BTreeMap::<&str, fn(&dyn Engine) -> sr::engine::Result<()>>::new();
    let mut add = |capability: Capability, operation| {
        operations.insert(capability.name(), operation);
    };
    add(Capability::SrProbe, |sr| sr.probe().map(drop));
    add(Capability::VdiResize, |sr| sr.resize_vdi(&VDI, 1).map(drop));
    add(Capability::VdiSnapshot, |sr| {
        sr.snapshot_vdi(&VDI, &VDI).map(drop)
    });
    add(Capability::VdiClone, |sr| {
        sr.clone_vdi(&VDI, &VDI, OnBoot::Persist).map(drop)
    });
    add(Capability::VdiRevert, |sr| {
        sr.revert_vdi(&VDI, &VDI).map(drop)
    });
    add(Capability::VdiResetOnBoot, |sr| {
        sr.begin_epoch(&VDI, OnBoot::Reset)
    });
    add(Capability::VdiGenerateConfig, |sr| {
        sr.require_ha_vdi(&VDI)?;
        sr.attach_ha_vdi(&VDI).map(drop)
    });
    add(Capability::VdiConfigCbt, |sr| {
        sr.track_changes(&VDI, true)?;
        sr.destroy_data(&VDI)?;
        sr.changed_blocks(&VDI, &VDI).map(drop)
    });
    add(Capability::Fence, |sr| {
        sr.blocklist_hosts(&[])?;
        sr.declare_dead("host", "test").map(drop)
    });
    add(Capability::Reclaim, |sr| {
        sr.pending()?;
        sr.reclaim(&mut |_| {}).map(drop)
    });
    add(Capability::Accept, |sr| sr.accept_vdi(&VDI));
    add(Capability::Adopt, |sr| {
        sr.adopt(&AdoptionRequest::default()).map(drop)
    });
    add(Capability::VdiCreate, |sr| {
        sr.create_vdi(&VDI, 1, XapiFields::default()).map(drop)
    });
    add(Capability::SrUpdate, |sr| sr.update(&NAME).map(drop));
    operations
}

#[test]
fn a_type_has_the_operations_of_its_capabilities_and_no_other() {
    for engine in engines() {
        let sr_type = engine.sr_type();
        for (name, operation) in operations() {
            let supported = sr_type.capabilities.iter().any(|c| c.name() == name);
            let refused = match operation(engine.as_ref()) {
                Err(Error::Unsupported { capability, .. }) => {
                    assert_eq!(capability.name(), name);
                    true
                }
                _ => false,
            };
            assert_eq!(refused, !supported, "{}: {name}", sr_type.name);
        }
    }
}

#[test]
fn an_operation_that_a_type_lacks_is_unimplemented_for_sm() {
    let [_, crucible] = &engines()[..] else {
        panic!("there are two types");
    };
    let failure = Failure::from(crucible.snapshot_vdi(&VDI, &VDI).unwrap_err());
    assert_eq!(failure.key, "Unimplemented");
    assert!(failure.message.contains("VDI_SNAPSHOT"), "{failure:?}");
}

#[test]
fn an_error_of_each_type_keeps_its_key_and_gets_its_advice() {
    let failure = |error: Error| Failure::from(error);
    let ceph = sr_ceph::Error::VdiMissing {
        vdi: VDI,
        sr: Uuid::nil(),
    };
    let advised = Error::Failed {
        source: Box::new(ceph),
        advice: Some("run this".to_owned()),
    };
    let advised = failure(advised);
    assert_eq!(advised.key, "VDIMissing");
    assert!(advised.message.ends_with("; run this"), "{advised:?}");
    let crucible = sr_crucible::Error::BadSize { size: -1, max: 1 };
    assert_eq!(failure(crucible.into()).key, "VDISize");
    for (name, config) in [("cephrbd", "poool"), ("crucible", "poool")] {
        let config = pairs(&[(config, "vms")]);
        let nothing = Python::with_gil(|py| py.None());
        let refused = open(name, Uuid::nil(), String::new(), config, nothing);
        let error = refused.err().unwrap();
        let key: String = Python::with_gil(|py| {
            let value = error.instance(py);
            value.getattr("key").unwrap().extract().unwrap()
        });
        assert_eq!(key, "InvalidArg", "{name}");
    }
}

#[test]
fn a_device_config_is_of_the_type_whose_key_it_has() {
    let type_of = |key| sr_type_of(&pairs(&[(key, "x")])).name;
    assert_eq!(type_of("pool"), "cephrbd");
    assert_eq!(type_of("volumes"), "crucible");
    assert_eq!(type_of("provisioner"), "crucible");
    assert_eq!(type_of("mon_host"), "cephrbd");
    let both = pairs(&[("pool", "x"), ("volumes", "x")]);
    assert_eq!(sr_type_of(&both).name, "crucible");
}

#[test]
fn no_key_is_a_mark_of_two_types() {
    let marks: Vec<_> = SR_TYPES.iter().flat_map(|t| t.marks).collect();
    for mark in &marks {
        assert_eq!(marks.iter().filter(|other| other == &mark).count(), 1);
        let has_key = |t: &&&SrType| t.configuration.iter().any(|key| key.name == **mark);
        assert_eq!(SR_TYPES.iter().filter(has_key).count(), 1, "{mark}");
    }
}

// xapi reads these lists. A change is visible to users.
#[test]
fn the_capabilities_of_each_type_are_these() {
    let names = |sr_type: &SrType| {
        let names = sr_type.capabilities.iter().filter(|c| c.is_sms());
        names.map(|c| c.name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        SR_TYPES.map(names),
        [
            "SR_PROBE SR_METADATA SR_UPDATE THIN_PROVISIONING LARGE_VDI ATOMIC_PAUSE VDI_CREATE VDI_DELETE VDI_INTRODUCE \
             VDI_UPDATE VDI_RESIZE VDI_ATTACH VDI_DETACH VDI_ACTIVATE VDI_DEACTIVATE VDI_SNAPSHOT VDI_CLONE \
             VDI_REVERT VDI_RESET_ON_BOOT/2 VDI_GENERATE_CONFIG VDI_CONFIG_CBT",
            "SR_UPDATE ATOMIC_PAUSE VDI_CREATE VDI_DELETE VDI_CLONE VDI_INTRODUCE VDI_UPDATE VDI_ATTACH VDI_DETACH \
             VDI_ACTIVATE VDI_DEACTIVATE",
        ]
    );
}

#[test]
fn an_sr_of_another_drivers_type_is_refused_with_the_types() {
    let failure = sr_type("lvm").unwrap_err();
    for part in ["lvm", "cephrbd", "crucible"] {
        assert!(failure.message.contains(part), "{failure:?}");
    }
}
