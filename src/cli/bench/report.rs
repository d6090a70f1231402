//! What is made of the rounds: median, least and greatest of each figure, on the screen or as JSON.

use serde::Serialize;

use crate::cli::{print, print_json, table};

/// One figure's values, one for each round that counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) median: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
    pub(super) rounds: Vec<f64>,
    /// What it is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<&'static str>,
}

/// Collects values by name, in the order in which the names come first.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<(&'static str, &'static str, Vec<f64>)>);

impl Samples {
    /// One more round's value.
    pub(super) fn add(&mut self, name: &'static str, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => self.0.push((name, unit, vec![value])),
        }
    }

    /// The same if there is one.
    pub(super) fn add_known(&mut self, name: &'static str, unit: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.add(name, unit, value);
        }
    }

    /// The floor of a round, and how close this figure comes to it.
    pub(super) fn add_ratio(&mut self, value: f64, floor_name: &'static str, floor: f64) {
        self.add(floor_name, "events/s", floor);
        self.add("ratio to the floor", "", value / floor);
    }

    /// Forgets everything: that was the warm-up.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What is made of them.
    pub(super) fn figures(self) -> Vec<Figure> {
        let figure = |(name, unit, rounds): (_, _, Vec<f64>)| Figure {
            name,
            unit,
            median: median(&rounds),
            minimum: rounds.iter().copied().fold(f64::INFINITY, f64::min),
            maximum: rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            rounds,
            target: None,
        };
        self.0.into_iter().map(figure).collect()
    }
}

/// The one in the middle, or the mean of the two there; 0 of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// All that one benchmark has to say.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) bench: &'static str,
    /// Where and with what it was measured: name and value.
    pub(super) header: Vec<(String, String)>,
    pub(super) figures: Vec<Figure>,
    /// What could not be measured, and why; what the figures mean.
    pub(super) notes: Vec<String>,
    #[serde(skip)]
    json: bool,
}

impl Report {
    pub(super) fn new(
        bench: &'static str,
        header: Vec<(String, String)>,
        samples: Samples,
        json: bool,
    ) -> Self {
        Self { bench, header, figures: samples.figures(), notes: Vec::new(), json }
    }

    /// Says why a figure is left out, if it is.
    pub(super) fn note_missing(&mut self, name: &str, why: &str) {
        if !self.figures.iter().any(|figure| figure.name == name) {
            self.notes.push(format!("{name} is left out: {why}"));
        }
    }

    /// Says what a figure is to be.
    pub(super) fn aim(&mut self, name: &str, target: &'static str) {
        for figure in self.figures.iter_mut().filter(|figure| figure.name == name) {
            figure.target = Some(target);
        }
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        if self.json {
            return print_json(self);
        }
        for (name, value) in &self.header {
            print(format!("{name}: {value}"))?;
        }
        let aims = self.figures.iter().any(|figure| figure.target.is_some());
        let columns = [self.bench, "median", "minimum", "maximum", "unit", "target"];
        let mut lines = table::new(if aims { &columns } else { &columns[..5] });
        for figure in &self.figures {
            let Figure { name, unit, median, minimum, maximum, target, .. } = figure;
            let mut row = vec![
                (*name).to_owned(),
                rounded(*median),
                rounded(*minimum),
                rounded(*maximum),
                (*unit).to_owned(),
            ];
            row.extend(aims.then(|| target.unwrap_or_default().to_owned()));
            lines.add_row(row);
        }
        print(lines.to_string())?;
        self.notes.iter().try_for_each(print)
    }
}

/// Three digits or more, as people read them.
fn rounded(value: f64) -> String {
    match value.abs() {
        100.0.. => grouped(value),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Whole, with the thousands apart.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if value < 0.0 { format!("-{grouped}") } else { grouped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_middle_of_its_rounds() {
        let mut samples = Samples::default();
        samples.add("rate", "1/s", 1.0);
        samples.clear();
        for value in [30.0, 10.0, 20.0] {
            samples.add("rate", "1/s", value);
        }
        samples.add_known("nothing", "", None);
        samples.add_known("even", "", Some(1.0));
        samples.add_known("even", "", Some(4.0));
        let figures = samples.figures();
        let told: Vec<_> =
            figures.iter().map(|one| (one.name, one.median, one.minimum, one.maximum)).collect();
        assert_eq!(told, [("rate", 20.0, 10.0, 30.0), ("even", 2.5, 1.0, 4.0)]);
        assert_eq!(figures[0].rounds, [30.0, 10.0, 20.0]);
        assert!(median(&[]).abs() < f64::EPSILON);
    }

    #[test]
    fn a_figure_that_is_left_out_is_told() {
        let mut samples = Samples::default();
        samples.add("there", "", 1.0);
        let mut report = Report::new("idle", Vec::new(), samples, true);
        report.note_missing("there", "no");
        report.note_missing("gone", "it is elsewhere");
        assert_eq!(report.notes, ["gone is left out: it is elsewhere"]);
    }

    #[test]
    fn numbers_have_the_digits_that_people_read() {
        for (value, text) in [
            (1_234_567.8, "1,234,568"),
            (999.4, "999"),
            (45_000.0, "45,000"),
            (45.04, "45.0"),
            (1.234, "1.23"),
            (0.8123, "0.812"),
            (0.0, "0.000"),
            (-1234.0, "-1,234"),
        ] {
            assert_eq!(rounded(value), text);
        }
    }
}
