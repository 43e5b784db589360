//! From two points up to their common image.

use crate::catalogue::{lineage_key, Catalogue, Stored};
use crate::error::Result;
use crate::record::{ImageRef, LineageRecord, SnapshotRef, Volume};

/// How many images a lineage is followed through. Each revert adds one.
const MAX_IMAGES: usize = 64;

/// A state of an image: the one of a snapshot, or the head's present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub image: ImageRef,
    pub snapshot: Option<SnapshotRef>,
}

impl Point {
    pub(super) fn of(volume: &Volume) -> Self {
        Point {
            image: volume.image().clone(),
            snapshot: volume.snapshot().cloned(),
        }
    }

    /// Its place among the states of its image. Ids of snapshots only grow.
    fn age(&self) -> u64 {
        self.snapshot.as_ref().map_or(u64::MAX, |s| s.id)
    }
}

/// Two points of an image that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leg {
    pub image: ImageRef,
    pub older: SnapshotRef,
    /// `None`: the head.
    pub newer: Option<SnapshotRef>,
}

/// A point, and what its content was made from: the same content in the image above, then again, with the birth
/// of each image on the way.
struct Path {
    points: Vec<Point>,
    /// One less than the points.
    births: Vec<SnapshotRef>,
}

/// Returns what must be compared to find all differences between two points. `None`: they have no common image.
pub(super) fn legs(catalogue: &Catalogue<'_>, a: &Point, b: &Point) -> Result<Option<Vec<Leg>>> {
    if a.image.id == b.image.id {
        return Ok(Some(between(a, b).into_iter().collect()));
    }
    let (a, b) = (Path::of(catalogue, a)?, Path::of(catalogue, b)?);
    let common = a.points.iter().enumerate().find_map(|(i, point)| {
        let mut others = b.points.iter();
        let j = others.position(|other| other.image.id == point.image.id)?;
        Some((i, j))
    });
    let Some((i, j)) = common else {
        return Ok(None);
    };
    let below = a.legs_below(i).chain(b.legs_below(j));
    let at_common = between(&a.points[i], &b.points[j]);
    Ok(Some(below.chain(at_common).collect()))
}

/// The leg between two points of one image. `None`: they are the same one.
fn between(a: &Point, b: &Point) -> Option<Leg> {
    let (older, newer) = match a.age() <= b.age() {
        true => (a, b),
        false => (b, a),
    };
    if older.age() == newer.age() {
        return None;
    }
    Some(Leg {
        image: older.image.clone(),
        older: older.snapshot.clone()?,
        newer: newer.snapshot.clone(),
    })
}

impl Path {
    fn of(catalogue: &Catalogue<'_>, point: &Point) -> Result<Self> {
        let mut path = Path {
            points: vec![point.clone()],
            births: Vec::new(),
        };
        let mut image = point.image.id.clone();
        while path.points.len() < MAX_IMAGES {
            let key = lineage_key(&image);
            let Some(value) = catalogue.read_keys(&[&key])?.remove(&key) else {
                break;
            };
            let lineage = Stored::<LineageRecord>::parse(value);
            let lineage = lineage.map_err(|source| catalogue.damaged(&key, source))?;
            let LineageRecord {
                image: of,
                birth,
                origin,
                ..
            } = lineage.record;
            if of.id != image {
                break;
            }
            image.clone_from(&origin.image.id);
            path.births.push(birth);
            path.points.push(Point {
                image: origin.image,
                snapshot: Some(origin.snapshot),
            });
        }
        Ok(path)
    }

    /// The legs on the images before that one: each from its birth to its point.
    fn legs_below(&self, common: usize) -> impl Iterator<Item = Leg> + '_ {
        let below = self.points.iter().zip(&self.births).take(common);
        below.filter_map(|(point, birth)| {
            let birth = Point {
                image: point.image.clone(),
                snapshot: Some(birth.clone()),
            };
            between(&birth, point)
        })
    }
}
