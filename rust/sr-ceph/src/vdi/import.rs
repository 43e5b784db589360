//! Making a disk of a snapshot of an image that does not belong to the SR: a golden image, in any pool.
//!
//! The disk is a thin clone. The same plan as for a new disk (`vdi/create.rs`), with more in its second step:
//! 1. The image and its snapshot are looked at. Nothing is written to the image: its pool needs
//!    `profile rbd-read-only`.
//! 2. The intent of a creation, with the new image's name, goes into the catalogue.
//! 3. The snapshot is cloned, then the clone gets its image-meta, then it grows to the disk's size.
//! 4. One swap writes the VDI's record and removes the intent.
//!
//! Until step 4, recovery deletes the clone. It is the only thing that was made: an image that does not belong
//! to smblock gets no snapshot, so none can be left. If the snapshot is removed while it is being cloned, cloning
//! fails and nothing is left; if it is removed later, Ceph keeps it, out of sight, until its last clone is freed
//! (clone format 2).

use sr::engine::ImportRequest;
use sr::xapi::{XapiFields, NO_TIME};
use uuid::Uuid;

use crate::catalogue::vdi_key;
use crate::chain::MAX_DEPTH;
use crate::error::{Error, Result, TemplateRefusal};
use crate::image_features::ImageFeatures;
use crate::pool::spec::spec;
use crate::pool::{PoolError, SnapshotKind, SnapshotState, Template, MIGRATING, NON_PRIMARY};
use crate::record::{Record, VdiRecord, Volume};
use crate::{room, CephSr};

/// XAPI's reference to nothing.
const NULL: &str = "OpaqueRef:NULL";

/// How an encrypted image begins: LUKS, and what RBD makes of it in a clone.
const ENCRYPTED: [&[u8]; 2] = [b"LUKS\xba\xbe", b"RBDL\xba\xbe"];

/// The name of a snapshot of an image.
struct Named<'n> {
    pool: &'n str,
    /// Empty: the default one.
    namespace: &'n str,
    image: &'n str,
    snapshot: Option<&'n str>,
}

impl<'n> Named<'n> {
    fn parse(name: &'n str) -> std::result::Result<Self, TemplateRefusal> {
        let refused = |reason| TemplateRefusal::Name {
            name: name.to_owned(),
            reason,
        };
        let (path, snapshot) = match name.rsplit_once('@') {
            Some((path, snapshot)) => (path, Some(snapshot)),
            None => (name, None),
        };
        let Some((pool, image)) = path.split_once('/') else {
            return Err(refused("it has no pool"));
        };
        let (namespace, image) = image.split_once('/').unwrap_or(("", image));
        if image.contains('/') {
            return Err(refused("it has too many parts"));
        }
        let is_empty_namespace = namespace.is_empty() && path.contains("//");
        if pool.is_empty()
            || image.is_empty()
            || is_empty_namespace
            || snapshot.is_some_and(str::is_empty)
        {
            return Err(refused("a part of it is empty"));
        }
        Ok(Named {
            pool,
            namespace,
            image,
            snapshot,
        })
    }

    fn image(&self) -> String {
        librbd::quoted(&self.path())
    }

    fn snapshot(&self) -> String {
        let snapshot = self.snapshot.unwrap_or_default();
        librbd::quoted(&format!("{}@{snapshot}", self.path()))
    }

    fn path(&self) -> String {
        format!("{}/{}", spec(self.pool, self.namespace), self.image)
    }

    fn refused(&self, error: PoolError) -> Error {
        match error.errno {
            nix::libc::ENOENT => TemplateRefusal::Missing {
                what: format!("image {}", self.image()),
                present: None,
            }
            .into(),
            nix::libc::EPERM | nix::libc::EACCES => TemplateRefusal::Denied {
                pool: self.pool.to_owned(),
                errno: hostos::errno::describe(error.errno),
            }
            .into(),
            _ => Error::Ceph {
                doing: format!("looking at image {}", self.image()),
                source: error,
            },
        }
    }
}

impl CephSr<'_> {
    /// Makes a disk of a snapshot of an image, with at least the requested size.
    pub fn import_vdi(&self, vdi: &Uuid, request: &ImportRequest) -> Result<VdiRecord> {
        let name = Named::parse(&request.source)?;
        if name.namespace != self.pool.namespace() {
            return Err(TemplateRefusal::OtherNamespace {
                image: name.image(),
                sr: self.pool.spec(),
            }
            .into());
        }
        let template = self.pool.template(name.pool, name.image, name.snapshot);
        let template = template.map_err(|error| name.refused(error))?;
        let snapshot = self.fit_snapshot(&name, &template)?;
        let size = size_of(&name, snapshot, request.size)?;
        let usage = room::require(self.pool, &format!("VDI {vdi} was not created"))?;
        room::warn_if_oversized(vdi, size, &usage);
        let image_name = self.images.first_name(vdi);
        let intent = loop {
            if let Some(intent) = self.begin_image(vdi, &image_name, None)? {
                break intent;
            }
        };
        let xapi = fields_of(request);
        let source = (name.pool, template.id.as_str(), snapshot.id);
        let made = self.images.make_of(source, &image_name, (vdi, size), &xapi);
        let image = match made {
            Ok(image) => image,
            Err(error) => return Err(self.undo_after(error, vdi, &intent, &image_name)),
        };
        let depth = u32::try_from(template.parents.len()).unwrap_or(MAX_DEPTH) + 1;
        let volume = Volume::Head { image };
        let mut record = VdiRecord::new(*vdi, volume, size, xapi).with_depth(depth);
        let bytes = record.seal();
        self.journal()
            .finish(vdi, &intent, None, |transaction, _| {
                transaction
                    .expect::<VdiRecord>(vdi_key(vdi), None)
                    .put(vdi_key(vdi), bytes.clone())
            })?;
        Ok(record)
    }

    /// Returns the snapshot of that name, if a clone of it can be a disk.
    fn fit_snapshot<'t>(
        &self,
        name: &Named<'_>,
        template: &'t Template,
    ) -> Result<&'t SnapshotState> {
        let of_users = |s: &&SnapshotState| !s.removed && s.kind == SnapshotKind::User;
        let names: Vec<_> = template.snapshots.iter().filter(of_users).collect();
        let present = || {
            let names: Vec<_> = names.iter().map(|s| s.name.as_str()).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        let Some(wanted) = name.snapshot else {
            let client = template.watchers.first();
            return Err(TemplateRefusal::NoSnapshot {
                image: name.image(),
                snapshots: present(),
                client: client.map(|client| client.address.clone()),
            }
            .into());
        };
        let Some(snapshot) = names.iter().find(|s| s.name == wanted) else {
            return Err(TemplateRefusal::Missing {
                what: format!("snapshot {}", name.snapshot()),
                present: present(),
            }
            .into());
        };
        self.require_fit(name, template)?;
        let first = self.pool.first_bytes(name.pool, &template.id, snapshot.id);
        let first = first.map_err(|error| name.refused(error))?;
        if ENCRYPTED.iter().any(|magic| first.starts_with(magic)) {
            return Err(unfit(name, "it begins with a LUKS header: librbd decrypts such an image, and the kernel does not. Copy its content to an image that is not encrypted, with qemu-img convert and its option encrypt.format"));
        }
        Ok(snapshot)
    }

    fn require_fit(&self, name: &Named<'_>, template: &Template) -> Result<()> {
        if template.is_smblocks {
            return Err(unfit(name, "it is a disk of an SR of smblock. Clone the VDI instead: xe vdi-clone uuid=VDI, or xe vdi-copy uuid=VDI sr-uuid=SR"));
        }
        if template.features & MIGRATING != 0 {
            let image = name.image();
            return Err(unfit(
                name,
                &format!("a migration of the image is not committed: rbd migration commit {image}"),
            ));
        }
        if template.features & NON_PRIMARY != 0 {
            return Err(unfit(name, "the image is a mirrored copy, which the other cluster overwrites. Copy it to another image: rbd cp"));
        }
        if template.parents.len() > MAX_DEPTH as usize {
            let (image, snapshot) = (name.image(), name.snapshot());
            let parents = template.parents.len();
            return Err(unfit(name, &format!("it has {parents} parents, one behind the other, and may have {MAX_DEPTH}: the kernel maps 16, and a disk needs one for its clones. Copy it: rbd cp {snapshot} {image}-copy, or flatten the image: rbd flatten {image}. Then take a snapshot of that")));
        }
        let supported = match self.host.supported_features() {
            Ok(Some(supported)) => supported,
            Ok(None) => return Ok(()), // the kernel itself refuses the map
            // The disk may be for another host.
            Err(e) => {
                log::warn!("it is not known whether this host can map the disk: {e}");
                return Ok(());
            }
        };
        let own = (name.image(), template.features);
        for (image, features) in template.parents.iter().chain([&own]) {
            let lacking = ImageFeatures::from_bits(features & !supported);
            if !lacking.is_empty() {
                return Err(TemplateRefusal::Features {
                    snapshot: name.snapshot(),
                    image: image.clone(),
                    features: lacking.to_string(),
                }
                .into());
            }
        }
        Ok(())
    }
}

fn unfit(name: &Named<'_>, reason: &str) -> Error {
    TemplateRefusal::Unfit {
        snapshot: name.snapshot(),
        reason: reason.to_owned(),
    }
    .into()
}

/// The size of the disk.
fn size_of(name: &Named<'_>, snapshot: &SnapshotState, requested: Option<i128>) -> Result<u64> {
    let least = snapshot.size;
    let size = super::disk_size(requested.unwrap_or(least.into()))?;
    if size < least {
        return Err(TemplateRefusal::TooSmall {
            snapshot: name.snapshot(),
            size,
            least,
        }
        .into());
    }
    Ok(size)
}

fn fields_of(request: &ImportRequest) -> XapiFields {
    XapiFields {
        name_label: request.name_label.clone(),
        name_description: request.name_description.clone(),
        ty: "user".to_owned(),
        managed: true,
        metadata_of_pool: NULL.to_owned(),
        snapshot_time: NO_TIME.to_owned(),
        ..XapiFields::default()
    }
}
