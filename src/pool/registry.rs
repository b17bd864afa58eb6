//! Pools by database and user.

use std::sync::Arc;

use dashmap::DashMap;

/// Database name and server user.
pub type Key = (String, String);

/// The pools that exist. No guard of the map is kept: values are handed out as `Arc`.
pub struct Registry<V> {
    map: DashMap<Key, Arc<V>>,
}

impl<V> Default for Registry<V> {
    fn default() -> Registry<V> {
        Registry { map: DashMap::new() }
    }
}

impl<V> Registry<V> {
    pub fn get(&self, key: &Key) -> Option<Arc<V>> {
        self.map.get(key).map(|found| Arc::clone(&found))
    }

    /// The value under this key, made if there is none. `make` must not come back to the registry.
    pub fn or_make(&self, key: Key, make: impl FnOnce() -> Arc<V>) -> Arc<V> {
        Arc::clone(&self.map.entry(key).or_insert_with(make))
    }

    pub fn remove(&self, key: &Key) -> Option<Arc<V>> {
        self.map.remove(key).map(|(_, value)| value)
    }

    /// `keep` must not come back to the registry.
    pub fn retain(&self, mut keep: impl FnMut(&Key, &Arc<V>) -> bool) {
        self.map.retain(|key, value| keep(key, value));
    }

    pub fn all(&self) -> Vec<(Key, Arc<V>)> {
        self.map.iter().map(|entry| (entry.key().clone(), Arc::clone(&entry))).collect()
    }
}
