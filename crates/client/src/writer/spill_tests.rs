//! The spill held against a plain queue, and against files that were cut off.

use std::collections::VecDeque;

use super::spill::{Spill, SpillError};

fn lines(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("{{\"id\":\"{number}\"}}")).collect()
}

fn drain(spill: &mut Spill) -> Vec<String> {
    let mut all = Vec::new();
    while !spill.is_empty() {
        let some = spill.peek(7).unwrap();
        spill.advance(some.len()).unwrap();
        all.extend(some);
    }
    all
}

#[test]
fn what_is_put_in_comes_out_in_order_also_after_opening_again() {
    let place = tempfile::tempdir().unwrap();
    let mut queue: VecDeque<String> = VecDeque::new();
    let mut spill = Spill::open(place.path(), 1 << 20).unwrap();
    let (mut next, mut state) = (0_u32, 7_u32);
    for _ in 0..300 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = 1 + (state >> 20) % 9;
        match (state >> 12) % 5 {
            0 | 1 => {
                let some = lines(next..next + size);
                next += size;
                spill.append(&some).unwrap();
                queue.extend(some);
            }
            2 => {
                let some = lines(next..next + size);
                next += size;
                spill.put_front(&some).unwrap();
                some.into_iter().rev().for_each(|line| queue.push_front(line));
            }
            _ => {
                let some = spill.peek(usize::try_from(size).unwrap()).unwrap();
                for line in &some {
                    assert_eq!(Some(line), queue.pop_front().as_ref());
                }
                spill.advance(some.len()).unwrap();
            }
        }
        assert_eq!(spill.events(), queue.len() as u64);
    }
    spill.append(&lines(next..next + 3)).unwrap();
    queue.extend(lines(next..next + 3));
    drop(spill);
    let mut spill = Spill::open(place.path(), 1 << 20).unwrap();
    let found = drain(&mut spill);
    // Some that were delivered may come again, before the others; none is missing.
    assert!(found.ends_with(queue.make_contiguous()), "{found:?}\n{queue:?}");
}

#[test]
fn a_line_cut_off_by_a_crash_is_dropped_and_the_others_stay() {
    let place = tempfile::tempdir().unwrap();
    let mut spill = Spill::open(place.path(), 1 << 20).unwrap();
    spill.append(&lines(0..5)).unwrap();
    drop(spill);
    let segment = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .unwrap();
    let text = std::fs::read(&segment).unwrap();
    for cut in 0..=text.len() {
        std::fs::write(&segment, &text[..cut]).unwrap();
        let mut spill = Spill::open(place.path(), 1 << 20).unwrap();
        let whole = text[..cut].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(spill.events(), whole as u64);
        spill.append(&lines(9..10)).unwrap();
        let mut expected = lines(0..u32::try_from(whole).unwrap());
        expected.extend(lines(9..10));
        assert_eq!(drain(&mut spill), expected);
    }
}

#[test]
fn a_full_spill_takes_nothing_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let mut spill = Spill::open(place.path(), 40).unwrap();
    spill.append(&lines(0..2)).unwrap();
    assert!(matches!(spill.append(&lines(2..9)), Err(SpillError::Full)));
    assert!(matches!(spill.put_front(&lines(2..9)), Err(SpillError::Full)));
    assert_eq!(drain(&mut spill), lines(0..2));
    spill.append(&lines(2..4)).unwrap();
    assert_eq!(drain(&mut spill), lines(2..4));
}

#[test]
fn a_directory_belongs_to_one_writer_at_a_time() {
    let place = tempfile::tempdir().unwrap();
    let first = Spill::open(place.path(), 1 << 20).unwrap();
    assert!(matches!(Spill::open(place.path(), 1 << 20), Err(SpillError::InUse(_))));
    drop(first);
    assert!(Spill::open(place.path(), 1 << 20).is_ok());
}
