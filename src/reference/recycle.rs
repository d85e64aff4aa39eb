//! Memory of the CPU path, used again.
//!
//! A training step allocates the same arrays every time. Fresh memory is handed out as zeros, which costs a pass over
//! it that results overwrite anyway; so the planner gives back what a run no longer needs, and ops that write every
//! element of their result start from [`Real::stale`](super::Real::stale).

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::mem::ManuallyDrop;
use std::sync::{Mutex, MutexGuard};

use rustc_hash::FxHasher;

use super::Data;

/// Shorter arrays are left to the allocator.
const LEAST: usize = 1 << 9;
/// Longer arrays lie in large pages where the system has them on request: with small ones every array would come
/// from a thousand faults, and every pass over it would look up as many addresses.
const LARGE: usize = 1 << 18;
/// An array that no run has wanted for so many runs is let go.
const PATIENCE: u64 = 32;

#[derive(Default)]
struct Shelf {
    run: u64,
    free: HashMap<usize, Size, BuildHasherDefault<FxHasher>>,
}

/// The arrays of one length.
#[derive(Default)]
struct Size {
    arrays: Vec<Vec<f32>>,
    /// The last run that wanted one.
    wanted: u64,
    /// How many this run has wanted so far, and the most that any run has: no more than that are worth keeping. Many
    /// ops make their results elsewhere, and those would pile up.
    count: usize,
    most: usize,
}

static SHELF: Mutex<Option<Shelf>> = Mutex::new(None);

fn shelf() -> MutexGuard<'static, Option<Shelf>> {
    SHELF.lock().unwrap_or_else(|e| e.into_inner())
}

/// An array of `n` numbers, whatever they are.
pub fn stale(n: usize) -> Vec<f32> {
    if n >= LEAST {
        let mut shelf = shelf();
        let Shelf { run, free } = shelf.get_or_insert_default();
        let size = free.entry(n).or_default();
        size.wanted = *run;
        size.count += 1;
        size.most = size.most.max(size.count);
        if let Some(array) = size.arrays.pop() {
            return array;
        }
    }
    let array = vec![0.0; n];
    if n >= LARGE {
        ask_for_large_pages(&array);
    }
    array
}

/// Asks for large pages under an array, best before anything in it is touched. It may be refused, and nothing is lost.
fn ask_for_large_pages(array: &[f32]) {
    #[cfg(target_os = "linux")]
    {
        let bytes = array.as_ptr_range();
        // SAFETY: a question about the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
        // The neighbours on the first page may be advised too: a gap between two arrays would keep a large page from
        // both.
        let start = bytes.start as usize / page * page;
        // SAFETY: advice changes no contents, of whatever memory.
        unsafe { libc::madvise(start as *mut _, bytes.end as usize - start, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = array;
}

/// The same for whole numbers.
pub fn stale_words(n: usize) -> Vec<u32> {
    let mut array = ManuallyDrop::new(stale(n));
    // SAFETY: the parts are those of a vector that is not dropped, and both types have one size, one alignment and a
    // value for any bits.
    unsafe { Vec::from_raw_parts(array.as_mut_ptr().cast(), array.len(), array.capacity()) }
}

/// Takes the memory of an array that nobody needs.
pub(crate) fn give_back_data(data: Data<f32>) {
    // SAFETY: as above.
    let floats = |at: *mut f32, len, capacity| unsafe { Vec::from_raw_parts(at, len, capacity) };
    give_back(match data {
        Data::Float(array) => array,
        Data::Int(array) => {
            let mut array = ManuallyDrop::new(array);
            floats(array.as_mut_ptr().cast(), array.len(), array.capacity())
        }
        Data::Uint(array) => {
            let mut array = ManuallyDrop::new(array);
            floats(array.as_mut_ptr().cast(), array.len(), array.capacity())
        }
    });
}

/// Takes an array that nobody needs.
pub(crate) fn give_back(array: Vec<f32>) {
    if array.len() >= LEAST
        && let Some(shelf) = &mut *shelf()
        && let Some(size) = shelf.free.get_mut(&array.len())
        && size.arrays.len() < size.most
    {
        size.arrays.push(array);
    }
}

/// Ends a run of a plan: what no run has wanted for long is freed.
pub(crate) fn end_run() {
    if let Some(Shelf { run, free }) = &mut *shelf() {
        *run += 1;
        free.retain(|_, size| {
            size.count = 0;
            size.wanted + PATIENCE > *run
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_and_are_let_go() {
        // A length that no other test uses: the shelf is shared.
        let n = LEAST + 12_345;
        let mut array = stale(n);
        assert!(array.iter().all(|&x| x == 0.0));
        array[0] = 7.0;
        give_back(array);
        end_run();
        assert_eq!(stale(n)[0], 7.0);
        // One was the most that was ever wanted at once, so one is kept.
        (0..3).for_each(|_| give_back(vec![7.0; n]));
        end_run();
        assert_eq!((stale(n)[0], stale(n)[0]), (7.0, 0.0));
        (0..=PATIENCE).for_each(|_| end_run());
        assert_eq!(stale(n)[0], 0.0);
    }
}
