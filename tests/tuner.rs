//! The tuner of the thread count against machines that are made up: it climbs to the best crew from any guess, drops a thread that is
//! in the way, comes back, and does not pay for more than some trials.

use kinglet::cpu::tuner::{Crew, Measured, Spin, Tuner};

/// A machine: what a step takes, and whether it stalls.
struct Machine<F> {
    step: F,
    available: usize,
    now_ms: f64,
    /// Steps by number of threads.
    n_steps: [usize; 65],
}

impl<F: Fn(Crew, f64) -> (f64, bool)> Machine<F> {
    fn new(available: usize, step: F) -> Self {
        Self { step, available, now_ms: 0.0, n_steps: [0; 65] }
    }

    fn run(&mut self, tuner: &mut Tuner, n: usize) {
        for _ in 0..n {
            let crew = tuner.crew(self.available);
            let (step_ms, stalled) = (self.step)(crew, self.now_ms);
            self.now_ms += step_ms;
            self.n_steps[crew.threads] += 1;
            tuner.note(Measured { crew, step_ms, cost_ms: step_ms, stalled, now_ms: self.now_ms });
        }
    }

    fn run_until(&mut self, tuner: &mut Tuner, now_ms: f64) {
        while self.now_ms < now_ms {
            self.run(tuner, 1);
        }
    }
}

/// Perfect scaling up to so many threads, each thread more costs `more_ms`.
fn scaled(total_ms: f64, cores: usize, more_ms: f64) -> impl Fn(Crew, f64) -> (f64, bool) {
    move |crew, _| {
        let beyond = crew.threads.saturating_sub(cores);
        (total_ms / crew.threads.min(cores) as f64 + more_ms * beyond as f64, false)
    }
}

#[test]
fn it_climbs_to_the_number_of_cores_from_any_guess() {
    for cores in [1, 2, 4, 8] {
        for guess in [1, 2, 3, 4, 6, 8] {
            let mut tuner = Tuner::new(guess, true);
            let mut machine = Machine::new(8, scaled(8.0, cores, 1.0));
            machine.run(&mut tuner, 100);
            let (found, least) = (tuner.found().unwrap(), 8.0 / cores as f64);
            let (cost, _) = (machine.step)(Crew::of(found), 0.0);
            // From 3 or 6 the climb does not pass every number.
            assert!(cost <= 1.34 * least, "guess {guess}, {cores} cores: {found} threads");
            if guess.is_power_of_two() {
                assert_eq!(found, cores, "guess {guess}");
            }
        }
    }
}

#[test]
fn what_a_climb_costs_is_little() {
    let mut tuner = Tuner::new(2, true);
    let mut machine = Machine::new(2, scaled(6.0, 2, 0.0));
    machine.run(&mut tuner, 200);
    assert_eq!(tuner.found(), Some(2));
    assert!(machine.n_steps[1] <= 2, "{} steps with one thread", machine.n_steps[1]);

    // Long steps: one is enough.
    let mut tuner = Tuner::new(4, true);
    let mut machine = Machine::new(4, scaled(400.0, 4, 0.0));
    machine.run(&mut tuner, 200);
    assert_eq!((tuner.found(), machine.n_steps[2]), (Some(4), 1));

    // Or none, where fewer are not asked for.
    let mut tuner = Tuner::new(4, false);
    let mut machine = Machine::new(4, scaled(400.0, 2, 1.0));
    machine.run(&mut tuner, 200);
    assert_eq!((tuner.found(), machine.n_steps[2]), (Some(4), 0));
}

#[test]
fn code_that_gets_faster_meanwhile_decides_nothing() {
    // Each step is 5 % faster than the one before, for forty steps: tier-up.
    let n = std::cell::Cell::new(0);
    let mut tuner = Tuner::new(2, true);
    let mut machine = Machine::new(4, move |crew: Crew, _| {
        n.set(n.get() + 1);
        (scaled(8.0, 2, 0.5)(crew, 0.0).0 * (1.0 + 3.0 * 0.95_f64.powi(n.get())), false)
    });
    machine.run(&mut tuner, 100);
    assert_eq!(tuner.found(), Some(2));
}

#[test]
fn a_machine_at_rest_is_left_alone() {
    let mut tuner = Tuner::new(4, true);
    let mut machine = Machine::new(4, scaled(8.0, 4, 0.0));
    machine.run(&mut tuner, 50);
    let before = machine.n_steps;
    machine.run(&mut tuner, 10_000);
    assert_eq!(machine.n_steps[4] - before[4], 10_000);
}

#[test]
fn a_growing_context_is_no_trouble() {
    let mut tuner = Tuner::new(4, true);
    // From 2 to 6 ms in 4,000 steps.
    let mut machine =
        Machine::new(4, |crew: Crew, now_ms: f64| ((8.0 + now_ms / 1_000.0) / crew.threads as f64, false));
    machine.run(&mut tuner, 50);
    let before = machine.n_steps;
    machine.run(&mut tuner, 4_000);
    assert_eq!(machine.n_steps[4] - before[4], 4_000);
}

/// Between 1 s and 20 s another program has one of four cores: a fourth thread holds the others up.
fn busy(crew: Crew, now_ms: f64) -> (f64, bool) {
    let is_held_up = (1_000.0..20_000.0).contains(&now_ms) && crew.threads == 4;
    (if is_held_up { 12.0 } else { 8.0 / crew.threads as f64 }, is_held_up)
}

#[test]
fn a_stall_drops_a_thread_and_it_comes_back() {
    let mut tuner = Tuner::new(4, true);
    let mut machine = Machine::new(4, busy);
    machine.run_until(&mut tuner, 990.0);
    assert_eq!(tuner.steady(), Crew::of(4));

    let before = machine.n_steps;
    machine.run_until(&mut tuner, 1_400.0);
    assert_eq!(tuner.steady().threads, 3);
    assert!(machine.n_steps[4] - before[4] < 40, "{} steps were held up", machine.n_steps[4] - before[4]);

    let before = machine.n_steps;
    machine.run_until(&mut tuner, 20_000.0);
    assert_eq!(tuner.steady().threads, 3);
    let (held_up, free) = (machine.n_steps[4] - before[4], machine.n_steps[3] - before[3]);
    assert!(held_up <= 20 && free > 100 * held_up, "{held_up} steps tried, {free} ran");

    machine.run_until(&mut tuner, 60_000.0);
    assert_eq!((tuner.steady(), tuner.found()), (Crew::of(4), Some(4)));
}

#[test]
fn a_stall_that_short_polls_mend_costs_no_thread() {
    let mut tuner = Tuner::new(4, true);
    let mut machine = Machine::new(4, |crew: Crew, now_ms: f64| {
        let suffers = now_ms > 500.0 && crew.spin == Spin::Long && crew.threads > 1;
        (if suffers { 6.0 } else { 8.0 / crew.threads as f64 + 0.2 }, suffers)
    });
    machine.run_until(&mut tuner, 3_000.0);
    assert_eq!(tuner.steady(), Crew { threads: 4, spin: Spin::Short });
}

#[test]
fn stalls_are_looked_into_before_steps_are_much_slower() {
    // A quarter more than it was, where three threads take no more than they did.
    let mut tuner = Tuner::new(4, true);
    let mut machine = Machine::new(4, |crew: Crew, now_ms: f64| {
        let held_up = now_ms > 500.0 && crew.threads == 4;
        (8.0 / crew.threads as f64 * if held_up { 1.4 } else { 1.0 }, held_up)
    });
    machine.run_until(&mut tuner, 1_000.0);
    assert_eq!(tuner.steady().threads, 3);
}

#[test]
fn a_whole_machine_that_slows_down_keeps_its_threads() {
    // A background tab: everything takes three times as long.
    let mut tuner = Tuner::new(4, true);
    let mut machine = Machine::new(4, |crew: Crew, now_ms: f64| {
        ((if now_ms > 1_000.0 { 24.0 } else { 8.0 }) / crew.threads as f64, now_ms > 1_000.0)
    });
    machine.run_until(&mut tuner, 60_000.0);
    assert_eq!(tuner.steady(), Crew::of(4));
    let others = machine.n_steps[3] as f64 / machine.n_steps[4] as f64;
    assert!(others < 0.01, "{others} of the steps were trials");
}

#[test]
fn several_cores_that_are_taken_cost_several_threads() {
    let mut tuner = Tuner::new(8, true);
    let mut machine = Machine::new(8, |crew: Crew, now_ms: f64| {
        let free = if now_ms > 500.0 { 5 } else { 8 };
        let held_up = crew.threads > free;
        (16.0 / crew.threads as f64 + if held_up { 10.0 } else { 0.0 }, held_up)
    });
    // A thread less does not help, half of them do; from there it goes up.
    machine.run_until(&mut tuner, 30_000.0);
    assert_eq!(tuner.steady().threads, 5);
}

#[test]
fn threads_that_come_late_are_tried() {
    let mut tuner = Tuner::new(4, true);
    let mut machine = Machine::new(2, scaled(8.0, 4, 0.0));
    machine.run(&mut tuner, 60);
    assert_eq!(tuner.steady(), Crew::of(2));
    machine.available = 4;
    machine.run(&mut tuner, 60);
    assert_eq!((tuner.steady(), tuner.found()), (Crew::of(4), Some(4)));
}

#[test]
fn one_thread_is_never_in_doubt() {
    let mut tuner = Tuner::new(1, true);
    let mut machine = Machine::new(1, |_: Crew, now_ms: f64| (if now_ms > 100.0 { 9.0 } else { 3.0 }, true));
    machine.run(&mut tuner, 1_000);
    assert_eq!((tuner.steady(), machine.n_steps[1]), (Crew::of(1), 1_000));
}

#[test]
fn a_step_that_ran_otherwise_says_nothing() {
    let mut tuner = Tuner::new(4, true);
    for i in 0..100 {
        let crew = tuner.crew(4);
        let other = Crew::of(if crew.threads == 3 { 2 } else { 3 });
        tuner.note(Measured { crew: other, step_ms: 1.0, cost_ms: 1.0, stalled: true, now_ms: f64::from(i) });
    }
    assert_eq!(tuner.steady(), Crew::of(4));
    assert_eq!(tuner.found(), None);
}
