//! How many threads a step is given, and how long they poll at a barrier: found by trying while real steps run, and watched from then
//! on. The bits are the same for any number, so a trial costs nothing but time. Pure: it is told what steps took and has no clock
//! of its own. Called by [`super::pool`].
//!
//! ```text
//! climb    from the first guess: twice as many, while that is faster; or else half, while that is; then settled. A climb that fell
//!          may have met a busy moment: the way back is tried as after a stall
//! settled  steps stall at barriers, or take longer than they used to: short polls, or else a thread less, or half of them
//!          some time later: a thread more, long polls
//! ```
//! A trial gives steps in turn to the crew that there is and to the one that is tried, so that what changes meanwhile (code that is
//! still being compiled, a context that grows, a phone that gets hot) meets both.

/// How long a thread polls before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spin {
    /// Long enough to meet others that have as much to do.
    Long,
    /// Next to nothing: whoever is waited for may need this core.
    Short,
}

/// Who runs a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crew {
    /// Threads, the caller among them.
    pub threads: usize,
    /// How they wait.
    pub spin: Spin,
}

impl Crew {
    /// So many threads that wait awake.
    pub fn of(threads: usize) -> Self {
        Self { threads, spin: Spin::Long }
    }
}

/// What a step took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Who ran it.
    pub crew: Crew,
    /// How long it took.
    pub step_ms: f64,
    /// The same for a unit of work, by which steps are compared.
    pub cost_ms: f64,
    /// Threads waited at most of its barriers until they fell asleep.
    pub stalled: bool,
    /// When it ended.
    pub now_ms: f64,
}

/// Steps at the beginning that say nothing: the code is cold, memory is touched for the first time.
const N_COLD: usize = 2;
/// Pairs of steps of a trial, and where steps are long.
const N_PAIRS: usize = 6;
const N_LONG_PAIRS: usize = 2;
const LONG_STEP_MS: f64 = 25.0;
/// Steps by which a crew is watched.
const WINDOW: usize = 8;
/// What more threads have to bring, and fewer, as parts of what it took before.
const MORE_IS_BETTER: f64 = 0.97;
const FEWER_IS_BETTER: f64 = 0.97;
/// A trial is lost at once, and after two pairs, beyond these.
const LOST_AT_ONCE: f64 = 3.0;
const LOST_EARLY: f64 = 1.25;
/// Steps that take so much longer than usual want looking at.
const SLOWED: f64 = 1.5;
/// How much more than usual a step may take from one window to the next and still be usual: the context grows.
const GROWTH: f64 = 1.01;
/// Between trials that did not help; each such trial doubles it.
const PAUSE_MS: f64 = 1_000.0;
const LONGEST_PAUSE_MS: f64 = 64_000.0;

/// The crew for one kind of steps.
#[derive(Debug, Clone)]
pub struct Tuner {
    best: Crew,
    /// The most that was ever best, or guessed: what may serve this machine best while it has nothing else to do.
    home: Crew,
    /// Threads that there are, and that there were at the last climb.
    available: usize,
    n_climbed: usize,
    /// Whether a climb may go down from the guess.
    may_fall: bool,
    n_cold: usize,
    trial: Option<Trial>,
    /// Whether the first climb has ended.
    is_settled: bool,
    window: Window,
    /// What a unit takes while all is well; `None` until a window is full.
    usual_ms: Option<f64>,
    /// Neither a remedy nor a way back is tried before.
    remedy_from_ms: f64,
    back_from_ms: f64,
    pause_ms: f64,
}

/// What a trial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// More threads than guessed. `risen`: that has helped before, so fewer will not.
    Rise { risen: bool },
    /// Fewer threads than guessed.
    Fall,
    /// Short polls, against stalls.
    Short,
    /// A thread less, against stalls.
    Fewer,
    /// Half of the threads, against stalls.
    Half,
    /// Towards `home`.
    Back,
}

/// Costs of the crew that there is and of the one that is tried.
#[derive(Debug, Clone)]
struct Trial {
    goal: Goal,
    crew: Crew,
    before: Vec<f64>,
    tried: Vec<f64>,
}

/// The newest steps of the best crew.
#[derive(Debug, Clone, Default)]
struct Window {
    costs: Vec<f64>,
    n_stalled: usize,
}

impl Tuner {
    /// Begins with `guess` threads. `may_fall`: whether to find out if fewer are better, too; where steps are long that costs more
    /// than it is likely to bring.
    pub fn new(guess: usize, may_fall: bool) -> Self {
        let best = Crew::of(guess.max(1));
        Self {
            best,
            home: best,
            available: 1,
            n_climbed: 0,
            may_fall,
            n_cold: N_COLD,
            trial: None,
            is_settled: false,
            window: Window::default(),
            usual_ms: None,
            remedy_from_ms: 0.0,
            back_from_ms: 0.0,
            pause_ms: PAUSE_MS,
        }
    }

    /// Who is to run the next step, of the threads that there are now.
    pub fn crew(&mut self, available: usize) -> Crew {
        self.available = available.max(1);
        match &self.trial {
            Some(trial) if trial.tried.len() < trial.before.len() => self.reachable(trial.crew),
            _ => self.steady(),
        }
    }

    /// Who runs a step that is not measured.
    pub fn steady(&self) -> Crew {
        self.reachable(self.best)
    }

    fn reachable(&self, crew: Crew) -> Crew {
        Crew { threads: crew.threads.min(self.available), ..crew }
    }

    /// The number of threads that is best now, once one is known: what to begin with the next time.
    pub fn found(&self) -> Option<usize> {
        self.is_settled.then_some(self.best.threads)
    }

    /// Learns what a step took that ran as [`Self::crew`] said.
    pub fn note(&mut self, step: Measured) {
        if self.n_cold > 0 {
            self.n_cold -= 1;
            return;
        }
        if self.trial.is_none() && self.available > self.n_climbed && self.best == self.home {
            // Threads that have not come by now are done without; those that come later are another climb.
            self.best = self.steady();
            self.home = self.best;
            self.n_climbed = self.available;
            self.climb(Goal::Rise { risen: self.is_settled });
        }
        let best = self.best;
        match &mut self.trial {
            None if step.crew == best => self.watch(step),
            None => {}
            Some(trial) => {
                if step.crew == best {
                    trial.before.push(step.cost_ms);
                } else if step.crew == trial.crew {
                    trial.tried.push(step.cost_ms);
                }
                if let Some(won) = trial.verdict(best, step.step_ms) {
                    self.end_trial(won, step.now_ms);
                }
            }
        }
    }

    /// Tries the next number of a climb; where there is none, the climb has ended.
    fn climb(&mut self, goal: Goal) {
        let n = self.best.threads;
        match goal {
            Goal::Rise { .. } if n < self.available => self.try_out(goal, Crew::of(self.available.min(2 * n))),
            Goal::Rise { risen: false } if self.may_fall => self.climb(Goal::Fall),
            Goal::Fall if n > 1 => self.try_out(goal, Crew::of(n.next_power_of_two() / 2)),
            _ => self.settle(),
        }
    }

    fn settle(&mut self) {
        if self.best.threads > self.home.threads {
            self.home = self.best;
        }
        self.is_settled = true;
    }

    fn try_out(&mut self, goal: Goal, crew: Crew) {
        self.window = Window::default();
        self.trial = Some(Trial { goal, crew, before: vec![], tried: vec![] });
    }

    fn end_trial(&mut self, won: bool, now_ms: f64) {
        let Some(trial) = self.trial.take() else { return };
        let before_ms = median(&trial.before);
        if won {
            self.best = trial.crew;
            self.usual_ms = None;
        }
        match trial.goal {
            Goal::Rise { .. } if won => self.climb(Goal::Rise { risen: true }),
            Goal::Rise { risen: false } if self.may_fall => self.climb(Goal::Fall),
            Goal::Fall if won => self.climb(Goal::Fall),
            Goal::Rise { .. } | Goal::Fall => {
                self.settle();
                self.back_from_ms = now_ms + self.pause_ms;
            }
            Goal::Short | Goal::Fewer | Goal::Half if won => self.back_from_ms = now_ms + self.pause_ms,
            Goal::Short => self.fewer(),
            Goal::Fewer if self.best.threads > 3 => self.try_out(Goal::Half, Crew::of(self.best.threads / 2)),
            Goal::Fewer | Goal::Half => self.accept(before_ms, now_ms),
            Goal::Back if won && self.best == self.home => self.pause_ms = PAUSE_MS,
            Goal::Back if won => {}
            Goal::Back => {
                self.lengthen_pause();
                self.back_from_ms = now_ms + self.pause_ms;
            }
        }
    }

    fn fewer(&mut self) {
        self.try_out(Goal::Fewer, Crew::of(self.best.threads - 1));
    }

    /// Nothing helps: what steps take now is what they take.
    fn accept(&mut self, usual_ms: f64, now_ms: f64) {
        self.usual_ms = Some(usual_ms);
        self.remedy_from_ms = now_ms + self.pause_ms;
        self.lengthen_pause();
    }

    fn lengthen_pause(&mut self) {
        self.pause_ms = (2.0 * self.pause_ms).min(LONGEST_PAUSE_MS);
    }

    /// Looks at a full window of steps of the best crew.
    fn watch(&mut self, step: Measured) {
        self.window.costs.push(step.cost_ms);
        self.window.n_stalled += usize::from(step.stalled);
        if self.window.costs.len() < WINDOW {
            return;
        }
        let window = std::mem::take(&mut self.window);
        let window_ms = median(&window.costs);
        let slowed = self.usual_ms.is_some_and(|usual_ms| window_ms > SLOWED * usual_ms);
        let in_trouble = slowed || 2 * window.n_stalled > WINDOW;
        if in_trouble && self.best.threads > 1 && step.now_ms >= self.remedy_from_ms {
            return match self.best.spin {
                Spin::Long => self.try_out(Goal::Short, Crew { spin: Spin::Short, ..self.best }),
                Spin::Short => self.fewer(),
            };
        }
        if !in_trouble {
            self.usual_ms = Some(self.usual_ms.map_or(window_ms, |usual_ms| window_ms.min(GROWTH * usual_ms)));
        }
        if self.best != self.home && step.now_ms >= self.back_from_ms {
            let threads = self.home.threads.min(self.best.threads + 1);
            self.try_out(Goal::Back, Crew::of(threads));
        }
    }
}

impl Trial {
    /// Whether the crew that is tried is better than `best`; `None` while that is not known.
    fn verdict(&self, best: Crew, step_ms: f64) -> Option<bool> {
        let n = self.tried.len();
        if n == 0 || n < self.before.len() {
            return None;
        }
        let (before, tried) = (median(&self.before), median(&self.tried));
        let (n_pairs, at_once) =
            if step_ms > LONG_STEP_MS { (N_LONG_PAIRS, LOST_EARLY) } else { (N_PAIRS, LOST_AT_ONCE) };
        if tried > at_once * before || (n > 1 && tried > LOST_EARLY * before) {
            return Some(false);
        }
        let asked = if self.crew.threads > best.threads { MORE_IS_BETTER } else { FEWER_IS_BETTER };
        (n >= n_pairs).then_some(tried < asked * before)
    }
}

/// The lower one of an even number.
fn median(costs: &[f64]) -> f64 {
    // Few numbers, and a sort of them would be a kilobyte of code: the one that about half of them are below.
    let rank = costs.len().saturating_sub(1) / 2;
    let n = |is_below: &dyn Fn(f64) -> bool| costs.iter().filter(|cost| is_below(**cost)).count();
    let is_it = |x: &f64| n(&|cost| cost < *x) <= rank && n(&|cost| cost <= *x) > rank;
    costs.iter().copied().find(is_it).unwrap_or(f64::INFINITY)
}
