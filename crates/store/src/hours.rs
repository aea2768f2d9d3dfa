//! The hours of a day, packed: how backends keep them beside the day's own state, in one row.
//!
//! ```text
//! {"5": [state, first, last, touched], "17": […]}
//! ```

use std::collections::BTreeMap;

use counterfoil_metering::{BucketKey, Level, State};
use counterfoil_types::timestamp::HOUR_MICROS;
use serde::{Deserialize, Serialize};

use crate::aggregate::Bucket;

/// State, first, last and touched position of one hour.
type Packed = (State, u64, u64, u64);

/// Hours by their number in the UTC day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hours(BTreeMap<i64, Packed>);

/// The key of the day that a bucket lies in.
#[must_use]
pub fn day_of(key: &BucketKey) -> BucketKey {
    let start = key.start.bucket(Level::Day.micros());
    BucketKey { level: Level::Day, start, ..key.clone() }
}

fn number(key: &BucketKey) -> i64 {
    key.start.micros().rem_euclid(Level::Day.micros()) / HOUR_MICROS
}

fn unpack(day: &BucketKey, hour: i64, packed: &Packed) -> Bucket {
    let (state, first, last, touched) = packed.clone();
    let start = day.start.plus_micros(hour * HOUR_MICROS);
    Bucket {
        key: BucketKey { level: Level::Hour, start, ..day.clone() },
        state,
        first,
        last,
        touched,
    }
}

impl Hours {
    /// Puts an hour in, replacing what was there.
    pub fn put(&mut self, bucket: &Bucket) {
        let packed = (bucket.state.clone(), bucket.first, bucket.last, bucket.touched);
        self.0.insert(number(&bucket.key), packed);
    }

    /// Takes over the stored hours that were not put in anew.
    pub fn keep(&mut self, stored: Self) {
        for (hour, packed) in stored.0 {
            self.0.entry(hour).or_insert(packed);
        }
    }

    /// The hour with this key, if it is there.
    #[must_use]
    pub fn bucket(&self, key: &BucketKey) -> Option<Bucket> {
        self.0.get(&number(key)).map(|packed| unpack(&day_of(key), number(key), packed))
    }

    /// All hours of the day with this key, in order.
    pub fn buckets<'a>(&'a self, day: &'a BucketKey) -> impl Iterator<Item = Bucket> + 'a {
        self.0.iter().map(move |(hour, packed)| unpack(day, *hour, packed))
    }
}
