//! The omap of an object.

use librbd::{OmapCursor, OmapUpdate, Pool};

use crate::fixture::Fixture;

fn pair(key: &str, value: &str) -> (String, Vec<u8>) {
    (key.to_owned(), value.as_bytes().to_vec())
}

fn expect(key: &str, value: Option<&str>) -> (String, Option<Vec<u8>>) {
    (key.to_owned(), value.map(|value| value.as_bytes().to_vec()))
}

fn value(pool: &Pool, object: &str, key: &str) -> Option<String> {
    let value = pool.omap_get(object, &[key]).unwrap().remove(key);
    value.map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn an_object_with_other_values_than_expected_is_not_removed() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let object = fixture.name("changed");
    let (old, new) = ([pair("sr", "old")], [pair("sr", "new")]);
    fixture.pool.omap_create(&object, &new).unwrap();
    let error = fixture.pool.omap_remove_object(&object, &old).unwrap_err();
    assert!(error.is_compare_failed(), "{error}");
    assert_eq!(value(&fixture.pool, &object, "sr").as_deref(), Some("new"));
    fixture.pool.omap_remove_object(&object, &new).unwrap();
    assert!(!fixture.pool.object_exists(&object).unwrap());
    let error = fixture.pool.omap_remove_object(&object, &new).unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn an_object_is_created_only_once() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let object = fixture.name("once");
    assert!(!fixture.pool.object_exists(&object).unwrap());
    fixture
        .pool
        .omap_create(&object, &[pair("who", "first")])
        .unwrap();
    let error = fixture
        .pool
        .omap_create(&object, &[pair("who", "second")])
        .unwrap_err();
    assert!(error.is_already_there(), "{error}");
    assert!(fixture
        .pool
        .create_object(&object)
        .unwrap_err()
        .is_already_there());
    assert_eq!(
        value(&fixture.pool, &object, "who").as_deref(),
        Some("first")
    );
    fixture.pool.remove_object(&object).unwrap();
    assert!(!fixture.pool.object_exists(&object).unwrap());
    assert!(fixture
        .pool
        .remove_object(&object)
        .unwrap_err()
        .is_not_found());
}

#[test]
fn a_missing_object_is_not_found() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let object = fixture.name("absent");
    assert!(fixture
        .pool
        .omap_page(&object, &OmapCursor::default(), "", 10)
        .unwrap_err()
        .is_not_found());
    assert!(fixture
        .pool
        .omap_get(&object, &["key"])
        .unwrap_err()
        .is_not_found());
    let update = OmapUpdate {
        expect: vec![expect("key", None)],
        set: vec![pair("key", "value")],
        remove: Vec::new(),
    };
    assert!(fixture
        .pool
        .omap_update(&object, &update)
        .unwrap_err()
        .is_not_found());
    assert!(fixture
        .pool
        .omap_update(&object, &OmapUpdate::default())
        .unwrap_err()
        .is_not_found());
    assert!(!fixture.pool.object_exists(&object).unwrap());
}

#[test]
fn all_pages_together_have_all_pairs() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let object = fixture.name("pages");
    let mut all: Vec<_> = (0..2_500)
        .map(|n| pair(&format!("vdi.{n:05}"), "record"))
        .collect();
    all.push(pair("journal.1", "intent"));
    fixture.pool.omap_create(&object, &all).unwrap();

    let (mut found, mut after, mut pages) = (Vec::new(), OmapCursor::default(), 0);
    loop {
        let page = fixture
            .pool
            .omap_page(&object, &after, "vdi.", u64::MAX)
            .unwrap();
        found.extend(page.entries);
        pages += 1;
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    all.pop();
    assert_eq!(found, all);
    assert!(
        pages >= 2,
        "the OSD gave 2,500 pairs at once: this cluster does not test paging"
    );

    let behind = OmapCursor::behind("vdi.02497").unwrap();
    let page = fixture.pool.omap_page(&object, &behind, "vdi.", 2).unwrap();
    assert_eq!(
        page.entries,
        [pair("vdi.02498", "record"), pair("vdi.02499", "record")]
    );
    fixture.pool.remove_object(&object).unwrap();
}

#[test]
fn a_change_is_made_if_all_values_are_as_expected() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let object = fixture.name("swap");
    fixture
        .pool
        .omap_create(&object, &[pair("a", "1"), pair("b", "1"), pair("c", "1")])
        .unwrap();
    let update = OmapUpdate {
        expect: vec![expect("a", Some("1")), expect("new", None)],
        set: vec![pair("a", "2"), pair("new", "2")],
        remove: vec!["b".to_owned(), "never-there".to_owned()],
    };
    fixture.pool.omap_update(&object, &update).unwrap();
    let page = fixture
        .pool
        .omap_page(&object, &OmapCursor::default(), "", 10)
        .unwrap();
    assert_eq!(
        page.entries,
        [pair("a", "2"), pair("c", "1"), pair("new", "2")]
    );
    assert_eq!(page.next, None);
    fixture.pool.remove_object(&object).unwrap();
}

#[test]
fn no_change_is_made_if_one_value_is_not_as_expected() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let object = fixture.name("no-swap");
    fixture
        .pool
        .omap_create(&object, &[pair("a", "1"), pair("b", "1")])
        .unwrap();
    let wrong = [
        expect("b", Some("2")),
        expect("b", Some("10")),
        expect("b", None),
        expect("not-there", Some("1")),
    ];
    for one in wrong {
        let update = OmapUpdate {
            expect: vec![expect("a", Some("1")), one.clone()],
            set: vec![pair("a", "2"), pair("c", "2")],
            remove: vec!["b".to_owned()],
        };
        let error = fixture.pool.omap_update(&object, &update).unwrap_err();
        assert!(error.is_compare_failed(), "{one:?}: {error}");
        let page = fixture
            .pool
            .omap_page(&object, &OmapCursor::default(), "", 10)
            .unwrap();
        assert_eq!(page.entries, [pair("a", "1"), pair("b", "1")], "{one:?}");
    }
    fixture.pool.remove_object(&object).unwrap();
}

#[test]
fn an_empty_value_is_refused() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let object = fixture.name("empty");
    assert!(fixture.pool.omap_create(&object, &[pair("a", "")]).is_err());
    assert!(!fixture.pool.object_exists(&object).unwrap());
    fixture
        .pool
        .omap_create(&object, &[pair("a", "1")])
        .unwrap();
    let set = OmapUpdate {
        set: vec![pair("a", "")],
        ..OmapUpdate::default()
    };
    assert!(fixture.pool.omap_update(&object, &set).is_err());
    let expected = OmapUpdate {
        expect: vec![expect("b", Some(""))],
        ..OmapUpdate::default()
    };
    let error = fixture.pool.omap_update(&object, &expected).unwrap_err();
    assert!(
        error.to_string().contains("equals a missing key"),
        "{error}"
    );
    assert_eq!(value(&fixture.pool, &object, "a").as_deref(), Some("1"));
    fixture.pool.remove_object(&object).unwrap();
}

#[test]
fn concurrent_changes_of_one_value_are_all_made() {
    const THREADS: u32 = 6;
    const CHANGES: u32 = 20;
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let object = fixture.name("race");
    fixture
        .pool
        .omap_create(&object, &[pair("count", "0")])
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..CHANGES).for_each(|_| increment(&fixture.pool, &object)));
        }
    });
    assert_eq!(
        value(&fixture.pool, &object, "count"),
        Some((THREADS * CHANGES).to_string())
    );
    fixture.pool.remove_object(&object).unwrap();
}

fn increment(pool: &Pool, object: &str) {
    loop {
        let seen = value(pool, object, "count").unwrap();
        let next = (seen.parse::<u32>().unwrap() + 1).to_string();
        let update = OmapUpdate {
            expect: vec![expect("count", Some(&seen))],
            set: vec![pair("count", &next)],
            remove: Vec::new(),
        };
        match pool.omap_update(object, &update) {
            Ok(()) => return,
            Err(error) => assert!(error.is_compare_failed(), "{error}"),
        }
    }
}
