//! Converts XenAPI's records of VDIs, and returns attributes of SM's `VDI` objects.

use std::collections::{BTreeMap, HashMap};

use pyo3::class::basic::CompareOp;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::once_cell::GILOnceCell;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use sr::engine::SrType;
use sr::xapi::{lasting_sm_config, ScannedVdi, Unknown, XapiFields, XapiVdi};
use uuid::Uuid;

use crate::text::for_xml;

/// Parses a UUID. The `ValueError` names what it is the UUID of.
pub fn uuid(what: &str, text: &str) -> PyResult<Uuid> {
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("{what} {text:?} is not a UUID")))
}

/// Converts VDI records of `VDI.get_all_records_where`, by reference.
pub fn xapi_vdis(records: HashMap<String, &PyDict>) -> PyResult<Vec<XapiVdi>> {
    xapi_vdis_beside(records, &HashMap::new())
}

/// As [`xapi_vdis`]. `others` are the UUIDs of further VDIs, by reference.
pub fn xapi_vdis_beside(
    records: HashMap<String, &PyDict>,
    others: &HashMap<String, String>,
) -> PyResult<Vec<XapiVdi>> {
    let mut uuids = HashMap::with_capacity(records.len() + others.len());
    for (reference, text) in others {
        uuids.insert(reference.as_str(), uuid("VDI", text)?);
    }
    for (reference, record) in &records {
        let text: String = field(record, "uuid")?;
        uuids.insert(reference.as_str(), uuid("VDI", &text)?);
    }
    let vdis = records.iter().map(|(reference, record)| {
        Ok(XapiVdi {
            uuid: uuids[reference.as_str()],
            size: number(record, "virtual_size")?,
            utilisation: number(record, "physical_utilisation")?,
            fields: fields(record, &uuids)?,
        })
    });
    vdis.collect()
}

fn fields(record: &PyDict, uuids: &HashMap<&str, Uuid>) -> PyResult<XapiFields> {
    let snapshot_of: String = field(record, "snapshot_of")?;
    let sm_config: BTreeMap<String, String> = field(record, "sm_config")?;
    Ok(XapiFields {
        name_label: field(record, "name_label")?,
        name_description: field(record, "name_description")?,
        ty: field(record, "type")?,
        read_only: field(record, "read_only")?,
        sharable: field(record, "sharable")?,
        managed: field(record, "managed")?,
        metadata_of_pool: field(record, "metadata_of_pool")?,
        is_a_snapshot: field(record, "is_a_snapshot")?,
        snapshot_of: uuids.get(snapshot_of.as_str()).copied(),
        // An xmlrpc.client.DateTime, whose str() is the time as XML-RPC writes it.
        snapshot_time: item(record, "snapshot_time")?.str()?.to_string(),
        sm_config: lasting_sm_config(sm_config),
        unknown: Unknown::default(),
    })
}

/// Reads the fields of SM's `VDI` object of a disk that is about to be created. Its `snapshot_of` is a
/// reference; the next `vdi_update` has the UUID.
pub fn fields_of(vdi: &PyAny) -> PyResult<XapiFields> {
    fn attribute<'py, T: FromPyObject<'py>>(vdi: &'py PyAny, name: &str) -> PyResult<T> {
        vdi.getattr(name)?.extract()
    }
    Ok(XapiFields {
        name_label: attribute(vdi, "label")?,
        name_description: attribute(vdi, "description")?,
        ty: attribute(vdi, "ty")?,
        read_only: attribute(vdi, "read_only")?,
        sharable: attribute(vdi, "shareable")?,
        managed: attribute(vdi, "managed")?,
        metadata_of_pool: attribute(vdi, "metadata_of_pool")?,
        is_a_snapshot: attribute(vdi, "is_a_snapshot")?,
        snapshot_of: None,
        snapshot_time: attribute(vdi, "snapshot_time")?,
        sm_config: BTreeMap::new(),
        unknown: Unknown::default(),
    })
}

/// A size in bytes that XAPI requests. Python's numbers have no limit: one that is out of range becomes the
/// nearest `i128`, which is refused as a size.
pub struct RequestedSize(pub i128);

impl<'source> FromPyObject<'source> for RequestedSize {
    fn extract(number: &'source PyAny) -> PyResult<Self> {
        Python::with_gil(|py| match number.extract() {
            Err(e) if e.is_instance::<PyOverflowError>(py) => Ok(RequestedSize(
                match number.rich_compare(0, CompareOp::Lt)?.is_true()? {
                    true => i128::MIN,
                    false => i128::MAX,
                },
            )),
            size => size.map(RequestedSize),
        })
    }
}

/// XML-RPC sends 64-bit numbers as strings.
fn number(record: &PyDict, name: &str) -> PyResult<u64> {
    let text: String = field(record, name)?;
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("{name} {text:?} is not a size")))
}

fn item<'py>(record: &'py PyDict, name: &str) -> PyResult<&'py PyAny> {
    record
        .get_item(name)
        .ok_or_else(|| PyValueError::new_err(format!("a VDI record of XAPI lacks {name}")))
}

fn field<'py, T: FromPyObject<'py>>(record: &'py PyDict, name: &str) -> PyResult<T> {
    item(record, name)?.extract()
}

/// The names of the attributes of SM's `VDI` objects, in the order of [`attributes`].
const ATTRIBUTES: [&str; 14] = [
    "uuid",
    "location",
    "size",
    "utilisation",
    "label",
    "description",
    "ty",
    "read_only",
    "shareable",
    "managed",
    "metadata_of_pool",
    "is_a_snapshot",
    "snapshot_time",
    "cbt_enabled",
];

/// Returns the attributes of SM's object for a VDI.
pub fn attributes(py: Python<'_>, vdi: &ScannedVdi, sr_type: &SrType) -> PyResult<PyObject> {
    // One set of strings for all VDIs: copies would take a seventh of the memory of a scan.
    static NAMES: GILOnceCell<Vec<Py<PyString>>> = GILOnceCell::new();
    let names = NAMES.get_or_init(py, || {
        let names = ATTRIBUTES.iter().map(|name| PyString::new(py, name).into());
        names.collect()
    });
    let uuid = PyString::new(py, &vdi.uuid.to_string());
    let xapi = &vdi.xapi;
    let values: [PyObject; ATTRIBUTES.len()] = [
        uuid.into(),
        uuid.into(),
        vdi.size.into_py(py),
        vdi.utilisation
            .unwrap_or_else(|| sr_type.utilisation(vdi.size))
            .into_py(py),
        for_xml(&xapi.name_label).to_object(py),
        for_xml(&xapi.name_description).to_object(py),
        xapi.ty.to_object(py),
        xapi.read_only.into_py(py),
        xapi.sharable.into_py(py),
        xapi.managed.into_py(py),
        xapi.metadata_of_pool.to_object(py),
        xapi.is_a_snapshot.into_py(py),
        xapi.snapshot_time.to_object(py),
        vdi.cbt_enabled.into_py(py),
    ];
    let attributes = PyDict::new(py);
    for (name, value) in names.iter().zip(values) {
        attributes.set_item(name, value)?;
    }
    if !vdi.known_to_xapi {
        // SM reads the sm_config of the other VDIs from XAPI, where running hosts keep keys.
        attributes.set_item("sm_config", xapi.sm_config.clone())?;
    }
    Ok(attributes.into())
}

/// What XAPI and SM have about an SR is JSON that cannot be parsed.
pub fn not_facts(error: serde_json::Error) -> PyErr {
    PyValueError::new_err(format!("the facts: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_python_that_is_out_of_range_becomes_a_refused_size() {
        pyo3::prepare_freethreaded_python();
        Python::with_gil(|py| {
            let size = |text| {
                let number = py.eval(text, None, None).unwrap();
                number.extract::<RequestedSize>().unwrap().0
            };
            assert_eq!(size("1 << 30"), 1 << 30);
            assert_eq!(size("-1"), -1);
            assert_eq!(size("2 ** 200"), i128::MAX);
            assert_eq!(size("-(2 ** 200)"), i128::MIN);
            let text = py.eval("'1'", None, None).unwrap();
            assert!(text.extract::<RequestedSize>().is_err());
        });
    }
}
