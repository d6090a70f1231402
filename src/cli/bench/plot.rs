//! Pictures of what was measured: series in, one SVG file out.
//!
//! Charts of one file are stacked. They bring their own white ground, and so are read in light and in dark surroundings.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::{
        BLACK, Cartesian2d, ChartBuilder, ChartContext, DrawingArea, IntoDrawingArea as _, LineSeries,
        PathElement, RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
    },
    style::{Color as _, IntoFont as _, TextStyle},
};

use super::{report::grouped, rounds::count};
use crate::trial::Tenth;

/// One chart, in the units of SVG.
const WIDTH: u32 = 960;
const HEIGHT: u32 = 400;

const FONT: &str = "sans-serif";
/// Plotters counts a font's size differently: these are 19 and 13 pixels.
const TITLE: i32 = 24;
const TEXT: i32 = 16;

/// Told apart by those as well who see fewer colours: Okabe and Ito's.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 0),
];

/// Some points, joined.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// How the axis across is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Across {
    /// Evenly.
    Evenly,
    /// By the share of what lies beyond: as far from 90 to 99 per cent as from 99 to 99.9. Points have [`nines`].
    Nines,
}

/// One chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What the axes show, with the unit.
    pub(super) across_label: &'static str,
    pub(super) up_label: &'static str,
    pub(super) across: Across,
    pub(super) lines: Vec<Line>,
}

/// Where a share stands among the nines: 0.9 at 1, 0.99 at 2.
pub(super) fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// A chart of what was done a second.
pub(super) fn throughput(what: &str, lines: Vec<Line>) -> Chart {
    Chart {
        title: format!("factline: throughput of {what}, by tenths of a second"),
        across_label: "seconds since the first event",
        up_label: "events/s",
        across: Across::Evenly,
        lines,
    }
}

/// Events a second, in the middle of each tenth of a second since the first one; in those that are missing nothing was
/// done.
pub(super) fn over_time(tenths: &[Tenth]) -> Vec<(f64, f64)> {
    let Some((first, _)) = tenths.first() else { return Vec::new() };
    let mut points = Vec::with_capacity(tenths.len());
    for (tenth, rows) in tenths {
        let after = tenth - first;
        while i64::try_from(points.len()).is_ok_and(|known| known < after) {
            points.push(0.0);
        }
        points.push(count(*rows) * 10.0);
    }
    let at = |(tenth, rate): (usize, f64)| ((count(tenth as u64) + 0.5) / 10.0, rate);
    points.into_iter().enumerate().map(at).collect()
}

/// Whether a picture can be put there, before anything is measured for it.
pub(super) fn check(file: Option<&PathBuf>) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    fs::OpenOptions::new().append(true).create(true).open(file).map(drop).with_context(|| cannot(file))
}

/// Writes them all into this file.
pub(super) fn write(file: &Path, charts: &[Chart]) -> anyhow::Result<()> {
    fs::write(file, drawn(charts)?).with_context(|| cannot(file))
}

fn cannot(file: &Path) -> String {
    format!("--plot: {} cannot be written; choose another place", file.display())
}

fn drawn(charts: &[Chart]) -> anyhow::Result<String> {
    let mut svg = String::new();
    let count = u32::try_from(charts.len())?;
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT * count)).into_drawing_area();
        area.fill(&WHITE).map_err(undrawn)?;
        for (area, chart) in area.split_evenly((charts.len(), 1)).iter().zip(charts) {
            draw(area, chart)?;
        }
        area.present().map_err(undrawn)?;
    }
    Ok(svg)
}

fn undrawn(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the chart cannot be drawn: {error}")
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Context<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw(area: &Area<'_>, chart: &Chart) -> anyhow::Result<()> {
    let (across, up) = ranges(&chart.lines);
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, text(TITLE))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(46)
        .y_label_area_size(84)
        .build_cartesian_2d(across, up)
        .map_err(undrawn)?;
    draw_axes(&mut context, chart)?;
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        let drawn = context.draw_series(LineSeries::new(line.points.iter().copied(), style));
        drawn
            .map_err(undrawn)?
            .label(&line.label)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], style));
    }
    context
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(text(TEXT))
        .draw()
        .map_err(undrawn)
}

fn draw_axes(context: &mut Context<'_, '_>, chart: &Chart) -> anyhow::Result<()> {
    let across: fn(&f64) -> String = match chart.across {
        Across::Evenly => plain,
        Across::Nines => per_cent,
    };
    context
        .configure_mesh()
        .x_labels(12)
        .y_labels(8)
        .x_label_formatter(&across)
        .y_label_formatter(&plain)
        .x_desc(chart.across_label)
        .y_desc(chart.up_label)
        .axis_desc_style(text(TEXT))
        .label_style(text(TEXT))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(WHITE)
        .draw()
        .map_err(undrawn)
}

fn text(size: i32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&BLACK)
}

/// From the first point to the last, and from nothing to a little above the highest.
fn ranges(lines: &[Line]) -> (Range<f64>, Range<f64>) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let first = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = points().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let up = if highest > 0.0 { highest * 1.1 } else { 1.0 };
    if first < last { (first..last, 0.0..up) } else { (0.0..1.0, 0.0..up) }
}

/// A share of nines in per cent: with as many nines as it has.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "what plotters asks for")]
fn per_cent(nines: &f64) -> String {
    // A hair above a whole number of nines is that number.
    let digits = (nines - 2.0 - 1e-6).ceil().clamp(0.0, 9.0);
    let share = 100.0 * (1.0 - 10_f64.powf(-nines));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a digit, and not below 0")]
    let digits = digits as usize;
    format!("{share:.digits$} %")
}

/// A number as short as it can be.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "what plotters asks for")]
fn plain(value: &f64) -> String {
    // What is left of a difference of floating point numbers is none.
    let rounded = (value * 1_000.0).round() / 1_000.0;
    if rounded.abs() < 10_000.0 { format!("{rounded}") } else { grouped(rounded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(title: &str, across: Across) -> Chart {
        let line = |label: &str, height: f64| Line {
            label: label.into(),
            points: (0..4).map(|step| (f64::from(step), height * f64::from(step))).collect(),
        };
        Chart {
            title: title.into(),
            across_label: "time in seconds",
            up_label: "events/s",
            across,
            lines: vec![line("round 1", 40_000.0), line("round <2> & more", 20_000.0)],
        }
    }

    /// The elements' names and the text between them; fails where an element is not closed in its turn.
    fn parsed(xml: &str) -> Result<(Vec<String>, Vec<String>), String> {
        let (mut open, mut names, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = xml;
        while let Some((text, tag)) = rest.split_once('<') {
            let (tag, after) = tag.split_once('>').ok_or("a tag has no end")?;
            if tag.matches('"').count() % 2 != 0 || tag.contains('<') {
                return Err(format!("an attribute has no end: {tag}"));
            }
            texts.push(text.trim().to_owned());
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                let begun = open.pop();
                if begun.as_deref() != Some(name.trim()) {
                    return Err(format!("{name} ends {begun:?}"));
                }
            } else if !tag.starts_with(['?', '!']) {
                let name = tag.split([' ', '\n', '/']).next().unwrap_or_default().to_owned();
                names.push(name.clone());
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
        }
        let escapes = ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;"];
        let bare = |text: &String| escapes.iter().fold(text.clone(), |text, escape| text.replace(escape, ""));
        let loose = texts.iter().any(|text| bare(text).contains(['&', '>']));
        let closed = open.is_empty() && rest.trim().is_empty() && !loose;
        closed.then_some((names, texts)).ok_or_else(|| "it is cut short, or not escaped".into())
    }

    #[test]
    fn what_is_not_well_formed_is_found() {
        assert!(parsed("<a><b c=\"d\"/>e</a>").is_ok());
        for wrong in ["<a><b></a></b>", "<a>", "<a b=\"c>d</a>", "<a>b & c</a>", "<a/> and"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn charts_are_in_one_file_with_every_label_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plot.svg");
        write(&file, &[chart("relay", Across::Evenly), chart("latency", Across::Nines)]).unwrap();
        let (names, texts) = parsed(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(names.first().map(String::as_str), Some("svg"));
        let count = |wanted: &str| texts.iter().filter(|text| *text == wanted).count();
        for label in ["round 1", "round &lt;2&gt; &amp; more", "time in seconds", "events/s"] {
            assert_eq!(count(label), 2, "{label} in {texts:?}");
        }
        for label in ["relay", "latency", "90 %", "99 %", "99.9 %"] {
            assert_eq!(count(label), 1, "{label} in {texts:?}");
        }
        assert!(count("100,000") > 0, "{texts:?}");
        // Two axes and two lines a chart, at the least.
        assert!(names.iter().filter(|name| *name == "polyline").count() >= 8, "{names:?}");
    }

    #[test]
    fn a_pause_shows_as_one() {
        let points = over_time(&[(100, 7), (101, 8), (104, 9)]);
        let heights: Vec<f64> = points.iter().map(|point| point.1).collect();
        assert_eq!(heights, [70.0, 80.0, 0.0, 0.0, 90.0]);
        assert!((points[4].0 - 0.45).abs() < 1e-9, "{points:?}");
        assert!(over_time(&[]).is_empty());
    }

    #[test]
    fn nothing_can_be_drawn_too() {
        let empty = Chart {
            lines: vec![Line { label: "none".into(), points: Vec::new() }],
            ..chart("t", Across::Evenly)
        };
        assert!(parsed(&drawn(&[empty]).unwrap()).is_ok());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_before_anything_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let error = check(Some(&folder.path().join("none/plot.svg"))).unwrap_err().to_string();
        assert!(error.contains("choose another place"), "{error}");
        check(None).unwrap();
    }

    #[test]
    fn labels_are_as_short_as_they_can_be() {
        let told = [0.0, 0.5, 3.000_000_000_4, 2_500.0, 12_500.0, 1_000_000.0].map(|value| plain(&value));
        assert_eq!(told, ["0", "0.5", "3", "2500", "12,500", "1,000,000"]);
        let told = [0.0, 0.9, 0.99, 0.999, 0.999_9].map(|share| per_cent(&nines(share)));
        assert_eq!(told, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }
}
