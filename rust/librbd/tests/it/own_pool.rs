//! A pool for one test.

use librbd::{Cluster, ConnectOptions, Pool, Secret};
use serde_json::{json, Value};

use crate::fixture::options;

/// A pool, and a user with the rights of an ordinary user in it.
pub struct OwnPool {
    pub admin: Cluster,
    pub options: ConnectOptions,
    pub pool: String,
}

impl OwnPool {
    pub fn create(what: &str) -> Option<Self> {
        let options = options("SMBLOCK_TEST_CEPH_ADMIN")?;
        let admin = Cluster::connect(&options).unwrap();
        let pool = format!("test-{what}-{}", admin.instance_id());
        let user = format!("client.{pool}");
        command(
            &admin,
            json!({"prefix": "osd pool create", "pool": pool, "pg_num": 8}),
        );
        command(
            &admin,
            json!({"prefix": "osd pool application enable", "pool": pool, "app": "rbd"}),
        );
        let profile = format!("profile rbd pool={pool}");
        let caps = ["mon", "profile rbd", "osd", &profile, "mgr", &profile];
        let added = command(
            &admin,
            json!({"prefix": "auth get-or-create", "entity": user, "caps": caps, "format": "json"}),
        );
        let added: Value = serde_json::from_slice(&added).unwrap();
        let key = Some(Secret::new(added[0]["key"].as_str().unwrap()));
        let options = ConnectOptions {
            user: pool.clone(),
            key,
            ..options
        };
        Some(Self {
            admin,
            options,
            pool,
        })
    }

    pub fn quota(&self, bytes: u64) {
        let (field, val) = ("max_bytes", bytes.to_string());
        command(
            &self.admin,
            json!({"prefix": "osd pool set-quota", "pool": self.pool, "field": field, "val": val}),
        );
    }

    pub fn user(&self) -> Pool {
        Cluster::connect(&self.options)
            .unwrap()
            .pool(&self.pool)
            .unwrap()
    }
}

impl Drop for OwnPool {
    fn drop(&mut self) {
        command(
            &self.admin,
            json!({"prefix": "osd pool rm", "pool": self.pool, "pool2": self.pool,
                   "yes_i_really_really_mean_it": true}),
        );
        let user = format!("client.{}", self.pool);
        command(&self.admin, json!({"prefix": "auth rm", "entity": user}));
    }
}

pub fn command(admin: &Cluster, command: Value) -> Vec<u8> {
    admin.mon_command(&command).unwrap()
}
