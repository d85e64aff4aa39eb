//! Counters of what a device made and moved: the figures that performance tests hold still, since they do not vary
//! with the load of the machine as times do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A reading of the counters, since the device was opened.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64),* }

        /// The counters of a device.
        #[derive(Debug, Default)]
        pub struct Tally { $($(#[$doc])* pub $name: AtomicU64),* }

        impl Tally {
            /// The values now.
            pub fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Relaxed)),* }
            }
        }

        impl Counters {
            /// What was added since `earlier`. Levels (live and peak bytes) are as they are now.
            pub fn since(&self, earlier: &Counters) -> Counters {
                let mut d = Counters { $($name: self.$name.wrapping_sub(earlier.$name)),* };
                (d.live_bytes, d.peak_bytes) = (self.live_bytes, self.peak_bytes);
                d
            }
        }
    };
}

counters! {
    /// Plans built (graphs seen for the first time).
    plans,
    /// Compute pipelines compiled.
    pipelines,
    /// Bind groups created.
    bind_groups,
    /// Buffers allocated from the driver.
    buffers,
    /// Kernel launches; on the CPU path, steps of plans.
    dispatches,
    /// Command buffers submitted; on the CPU path, plans run.
    submissions,
    /// Bytes bound by kernel launches: what they may read and write.
    bytes_bound,
    /// Bytes copied into textures, where kernels read them from those.
    bytes_mirrored,
    /// Bytes uploaded from the host.
    bytes_uploaded,
    /// Bytes read back to the host.
    bytes_read,
    /// Bytes of buffer memory held from the driver now.
    live_bytes,
    /// The most that `live_bytes` has been.
    peak_bytes,
}

impl Tally {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    /// Notes an allocation.
    pub fn grow(&self, bytes: u64) {
        let now = self.live_bytes.fetch_add(bytes, Relaxed) + bytes;
        self.peak_bytes.fetch_max(now, Relaxed);
    }

    /// Notes that an allocation went back to the driver.
    pub fn shrink(&self, bytes: u64) {
        self.live_bytes.fetch_sub(bytes, Relaxed);
    }
}
