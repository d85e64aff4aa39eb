//! Environments as tensor programs: every step against the environment of the host, chances against the process they
//! are of.

use wgrad::env::cartpole::{Carts, starts};
use wgrad::env::gridworld::{CLIFF, Mdp, Walks, cliff};
use wgrad::env::{CartPole, End, Env, TensorEnv, advance, play};
use wgrad::ops::Rng;
use wgrad::{DType, Device, Tensor};

use crate::merge;
use crate::registry::under_test;

fn devices() -> [Device; 4] {
    [Device::cpu(), Device::reference(), under_test(), merge::device(true, false)]
}

fn rows(states: &Tensor) -> Vec<[f64; 4]> {
    states.to_f64_vec().unwrap().chunks(4).map(|row| [row[0], row[1], row[2], row[3]]).collect()
}

/// Carts pushed at random, each of them a step of the cart of the host from where it stood, to rounding; episodes end
/// where those do, by the rules and by the clock, and others begin.
#[test]
fn carts_are_the_carts_of_the_host() {
    let (n, limit) = (6, 14);
    for d in devices() {
        let (carts, mut rng) = (Carts { limit }, Rng::new(3));
        let mut states = carts.starts(&d, n, &mut rng).into_leaf(false).unwrap();
        let mut clock = Tensor::full(&d, [n], 0u32);
        let (mut steps, mut ends, mut begun) = (vec![0; n], [0, 0], Vec::new());
        for t in 0..40 {
            // A few go right for ever, which ends in some ten steps.
            let pushes: Vec<u32> = (0..n).map(|i| u32::from(i < 2 || (t * 7 + i * 5) % 3 == 0 || t % 2 == 0)).collect();
            let actions = Tensor::from_slice(&d, &pushes, n).unwrap();
            let round = advance(&carts, &states, &clock, &actions, &mut rng);
            let (before, after, next) = (rows(&states), rows(&round.moved.states), rows(&round.states));
            let (found, ticks) = (round.ends().unwrap(), round.clock.to_vec::<u32>().unwrap());
            assert_eq!(round.moved.rewards.to_vec::<f32>().unwrap(), vec![1.0; n]);
            for i in 0..n {
                let mut cart = CartPole::new(usize::MAX, 0);
                cart.set_state(before[i]);
                let step = cart.step(pushes[i] as usize);
                let want = cart.state();
                assert!(after[i].iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}, not {want:?}", after[i]);
                steps[i] += 1;
                let end = step.end.or((steps[i] == limit).then_some(End::TimeLimit));
                assert_eq!(found[i], end, "lane {i} at {t} on {d}: {want:?}");
                match end {
                    None => assert_eq!((next[i], ticks[i]), (after[i], steps[i] as u32)),
                    Some(end) => {
                        ends[usize::from(end == End::Terminal)] += 1;
                        assert!(next[i].iter().all(|x| (-0.05..0.05).contains(x)) && ticks[i] == 0, "{:?}", next[i]);
                        begun.push(next[i].map(f64::to_bits));
                        steps[i] = 0;
                    }
                }
            }
            states = round.states.into_leaf(false).unwrap();
            clock = round.clock.into_leaf(false).unwrap();
        }
        assert!(ends[0] > 2 && ends[1] > 2, "{ends:?} on {d}");
        let episodes = begun.len();
        begun.sort_unstable();
        begun.dedup();
        assert_eq!(begun.len(), episodes, "episodes begin otherwise each");
    }
}

#[test]
fn a_limit_of_200_is_that_of_the_first_version() {
    let d = Device::cpu();
    let states = starts(&d, 8, &mut Rng::new(1)).unwrap();
    // Holds the pole up for ever.
    let returns = play(&Carts { limit: 200 }, &states, &mut Rng::new(0), |states| {
        let lean = &states.narrow(1, 2, 1) + &(&states.narrow(1, 3, 1) * 0.5);
        lean.squeeze(1).greater(&Tensor::scalar(&d, 0f32)).cast(DType::U32)
    });
    assert_eq!(returns.unwrap().to_vec::<f32>().unwrap(), [200.0; 8]);
}

/// Every action in every cell of the cliff walk leads where the function says that the tables are made of.
#[test]
fn walks_go_where_the_grid_says() {
    let states = CLIFF[0] * CLIFF[1];
    let all: Vec<(u32, u32)> = (0..states as u32).flat_map(|s| (0..4).map(move |a| (s, a))).collect();
    for d in devices() {
        let mdp = Mdp::deterministic(&d, states, 4, 1.0, |state, action| {
            let (next, reward) = cliff(state, action);
            (next, reward as f32)
        });
        let walks = Walks::new(&mdp.unwrap(), &[36], 1000).unwrap();
        let list = |k: fn(&(u32, u32)) -> u32| {
            Tensor::from_slice(&d, &all.iter().map(k).collect::<Vec<_>>(), all.len()).unwrap()
        };
        let clock = Tensor::full(&d, [all.len()], 0u32);
        let round = advance(&walks, &list(|p| p.0), &clock, &list(|p| p.1), &mut Rng::new(5));
        let (moved, next) = (round.moved.states.to_vec::<u32>().unwrap(), round.states.to_vec::<u32>().unwrap());
        let (rewards, ends) = (round.moved.rewards.to_vec::<f32>().unwrap(), round.ends().unwrap());
        for (i, &(state, action)) in all.iter().enumerate() {
            let (want, reward) = cliff(state as usize, action as usize);
            assert_eq!(f64::from(rewards[i]), reward);
            match want {
                Some(want) => assert_eq!((ends[i], moved[i], next[i]), (None, want as u32, want as u32), "{d}"),
                None => assert_eq!((ends[i], next[i]), (Some(End::Terminal), 36), "{state} {action} on {d}"),
            }
        }
        let seen = walks.observe(&list(|p| p.0)).to_vec::<f32>().unwrap();
        assert!(seen.iter().enumerate().all(|(i, &x)| x == f32::from(all[i / states].0 as usize == i % states)));
    }
}

/// The shares of the next states are those of the process, to four standard errors; what is missing to 1 ends the
/// episode, and what is not possible does not happen.
#[test]
fn walks_keep_to_the_chances_of_the_process() {
    let n = 40_000;
    let chances = [0.2f32, 0.0, 0.5, 0.1];
    for d in [Device::cpu(), under_test()] {
        let mut table = vec![0.25f32; 16];
        table[8..12].copy_from_slice(&chances);
        let transitions = Tensor::from_slice(&d, &table, [4, 1, 4]).unwrap();
        let mdp = Mdp { transitions, rewards: Tensor::iota(&d, 4, 0f32, 1f32).reshape([4, 1]), discount: 1.0 };
        let walks = Walks::new(&mdp, &[3, 1], 10).unwrap();
        let zeros = Tensor::full(&d, [n], 0u32);
        let round = advance(&walks, &Tensor::full(&d, [n], 2u32), &zeros, &zeros, &mut Rng::new(11));
        let (next, ends) = (round.states.to_vec::<u32>().unwrap(), round.ends().unwrap());
        let near = |count: usize, p: f64, of: usize| {
            let error = (p * (1.0 - p) / of as f64).sqrt();
            let share = count as f64 / of as f64;
            assert!((share - p).abs() <= 4.0 * error, "{share} instead of {p} on {d}");
        };
        for (state, &chance) in chances.iter().enumerate() {
            let count = (0..n).filter(|&i| ends[i].is_none() && next[i] as usize == state).count();
            near(count, f64::from(chance), n);
        }
        let begun: Vec<u32> = (0..n).filter(|&i| ends[i].is_some()).map(|i| next[i]).collect();
        near(begun.len(), 0.2, n);
        near(begun.iter().filter(|&&s| s == 3).count(), 0.5, begun.len());
        assert!(begun.iter().all(|&s| s == 3 || s == 1));
        assert_eq!(round.moved.rewards.to_vec::<f32>().unwrap(), vec![2.0; n]);
        // A row of chances that sums up to 1 but for rounding ends no episode.
        let round = advance(&walks, &zeros, &zeros, &zeros, &mut Rng::new(12));
        assert!(round.ends().unwrap().iter().all(Option::is_none));
    }
}

/// From each cell of the small grid the best way is as long as the book says (figure 4.1).
#[test]
fn the_best_walks_are_as_long_as_published() {
    for d in [Device::cpu(), under_test()] {
        let walks = Walks::new(&Mdp::four_by_four(&d).unwrap(), &[5], 50).unwrap();
        let from = Tensor::iota(&d, 16, 0u32, 1u32);
        // North and west in the half of the upper left corner, else south and east: 0 north, 1 south, 2 west, 3 east.
        let best = [0u32, 2, 2, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 3, 3, 0];
        let best = Tensor::from_slice(&d, &best, 16).unwrap();
        let policy = |seen: &Tensor| best.index_select(0, &seen.argmax(&[1]));
        let returns = play(&walks, &from, &mut Rng::new(0), policy).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(returns, [0., -1., -2., -3., -1., -2., -3., -2., -2., -3., -2., -1., -3., -2., -1., 0.], "{d}");
    }
}

#[test]
#[should_panic(expected = "starts [1, 16] in a process of 16 states")]
fn a_start_is_a_state() {
    let _ = Walks::new(&Mdp::four_by_four(&Device::cpu()).unwrap(), &[1, 16], 50);
}

#[test]
#[should_panic(expected = "advance: states [3, 4], a clock [3] and actions [2]")]
fn there_is_an_action_for_each_lane() {
    let d = Device::cpu();
    let (states, zeros) = (Tensor::zeros(&d, [3, 4]), |n: usize| Tensor::full(&d, [n], 0u32));
    advance(&Carts { limit: 9 }, &states, &zeros(3), &zeros(2), &mut Rng::new(0));
}
