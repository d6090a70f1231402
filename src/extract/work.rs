//! Counts the steps of the extractors, so that a test can tell without a clock whether their number stays in
//! proportion to a message's length. Nothing is counted anywhere else.

/// So many steps were taken: bytes looked at, words or tokens asked for something.
#[inline]
pub(super) fn did(steps: usize) {
    #[cfg(test)]
    STEPS.with(|counted| counted.set(counted.get() + steps));
    #[cfg(not(test))]
    let _ = steps;
}

#[cfg(test)]
thread_local!(static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

/// The steps that some work takes on this thread.
#[cfg(test)]
pub(super) fn of(work: impl FnOnce()) -> usize {
    STEPS.with(|counted| counted.set(0));
    work();
    STEPS.with(std::cell::Cell::get)
}
