//! What a campaign looked like over time, as SVG that is readable on light and on dark pages.

use super::Moment;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

/// The pictures of a report, and what they show.
pub(super) const SHOWN: [(&str, &str); 3] = [
    ("faults.svg", "Faults over time, by class"),
    ("queues.svg", "Messages that wait, over time"),
    ("messages.svg", "Messages in and out, over time"),
];

/// Colours that a style changes where pages are dark: text, lines behind the data, the page itself.
const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
const GRID: RGBColor = RGBColor(0xD1, 0xD9, 0xE0);
const PAPER: RGBColor = RGBColor(0xFE, 0xFE, 0xFE);

/// Colours that are seen on both.
const FIRST: RGBColor = RGBColor(0x21, 0x80, 0xE0);
const SECOND: RGBColor = RGBColor(0xE0, 0x6C, 0x1F);

const DARK: &str = "<style>@media (prefers-color-scheme: dark) {
[fill=\"#1F2328\"] { fill: #E6EDF3 } [stroke=\"#1F2328\"] { stroke: #E6EDF3 }
[stroke=\"#D1D9E0\"] { stroke: #3D444D }
[fill=\"#FEFEFE\"] { fill: #0D1117 }
}</style>\n";

const WIDTH: u32 = 900;
const HEIGHT: u32 = 360;

/// Where the world heals, in percent of the time until then.
const HEALS: f64 = 100.0;

/// All of them: name and content.
pub(super) fn all(timeline: &[Moment]) -> Result<Vec<(&'static str, String)>, String> {
    let [faults, queues, messages] = SHOWN.map(|(file, _)| file);
    let [in_all, out_all] = [
        timeline.iter().map(|moment| moment.messages_in_per_second).collect(),
        timeline.iter().map(|moment| moment.messages_out_per_second).collect(),
    ];
    #[allow(clippy::cast_precision_loss)] // For people.
    let [median, high] = [
        timeline.iter().map(|moment| moment.queued_median as f64).collect(),
        timeline.iter().map(|moment| moment.queued_99th_percentile as f64).collect(),
    ];
    let drawn = [
        (faults, heat_map(timeline)),
        (
            queues,
            lines(
                "Messages that wait in the queues of a broker",
                "messages",
                timeline,
                &[("99 % of the brokers have no more", high), ("half of them have no more", median)],
            ),
        ),
        (
            messages,
            lines(
                "Messages of a broker, for each second of virtual time",
                "messages per second",
                timeline,
                &[("in", in_all), ("out", out_all)],
            ),
        ),
    ];
    drawn.into_iter().map(|(file, picture)| Ok((file, for_both(&picture?)))).collect()
}

/// Puts the style for dark pages where the picture begins.
fn for_both(picture: &str) -> String {
    let head = picture.find("<svg").and_then(|svg| picture[svg..].find(">\n").map(|end| svg + end + 2));
    let (head, rest) = picture.split_at(head.unwrap_or_default());
    format!("{head}{DARK}{rest}")
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

fn ends(timeline: &[Moment]) -> impl Iterator<Item = f64> {
    timeline.iter().map(|moment| moment.until * HEALS)
}

/// Lines, each with its name.
fn lines(title: &str, unit: &str, timeline: &[Moment], all: &[(&str, Vec<f64>)]) -> Result<String, String> {
    let mut picture = String::new();
    let wrong = |error: DrawingAreaErrorKind<_>| error.to_string();
    {
        let area = SVGBackend::with_string(&mut picture, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&PAPER).map_err(wrong)?;
        let most = all.iter().flat_map(|(_, values)| values).fold(1.0, |most: f64, value| most.max(*value));
        let end = ends(timeline).last().unwrap_or(HEALS);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, text(20))
            .margin(15)
            .x_label_area_size(45)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, 0.0..most * 1.1)
            .map_err(wrong)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(text(14))
            .x_label_formatter(&|percent| format!("{percent:.0} %"))
            .x_desc("time, in percent of the time until the world heals")
            .y_desc(unit)
            .draw()
            .map_err(wrong)?;
        let healing = [(HEALS, 0.0), (HEALS, most * 1.1)];
        let stroke = INK.stroke_width(1);
        let mark = move |(x, y)| PathElement::new([(x + 10, y - 6), (x + 10, y + 6)], stroke);
        let series = LineSeries::new(healing, stroke);
        chart.draw_series(series).map_err(wrong)?.label("the world heals").legend(mark);
        for ((name, values), colour) in all.iter().zip([SECOND, FIRST]) {
            let points = ends(timeline).zip(values.iter().copied());
            let series = LineSeries::new(points, colour.stroke_width(3));
            let mark = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3));
            chart.draw_series(series).map_err(wrong)?.label(*name).legend(mark);
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(text(14))
            .background_style(PAPER)
            .border_style(GRID)
            .draw()
            .map_err(wrong)?;
        area.present().map_err(wrong)?;
    }
    Ok(picture)
}

/// A row for each class of faults, the stronger its colour the more of them there were.
fn heat_map(timeline: &[Moment]) -> Result<String, String> {
    const ROW: u32 = 18;
    let mut picture = String::new();
    let wrong = |error: DrawingAreaErrorKind<_>| error.to_string();
    let faulty: Vec<&Moment> = timeline.iter().filter(|moment| moment.until <= 1.0).collect();
    let classes: Vec<&str> =
        faulty.first().map_or(Vec::new(), |first| first.faults_per_second.keys().copied().collect());
    let rate =
        |moment: &Moment, class: &str| moment.faults_per_second.get(class).copied().unwrap_or_default();
    let rates = || faulty.iter().flat_map(|moment| moment.faults_per_second.values().copied());
    let most = rates().fold(0.0, f64::max);
    let least = rates().filter(|rate| *rate > 0.0).fold(most, f64::min);
    let rows = u32::try_from(classes.len()).unwrap_or_default();
    {
        let area = SVGBackend::with_string(&mut picture, (WIDTH, 120 + ROW * rows)).into_drawing_area();
        area.fill(&PAPER).map_err(wrong)?;
        let (left, top) = (60, 45);
        let title = "Faults for each second of virtual time, by class";
        let centred = text(20).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw_text(title, &centred, (pixel(WIDTH) / 2, 12)).map_err(wrong)?;
        let cell =
            |number: usize| left + (pixel(WIDTH) - left - 20) * pixel(number) / pixel(faulty.len().max(1));
        for (row, class) in (0..).zip(&classes) {
            let y = top + row * pixel(ROW);
            let name = text(13).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw_text(class, &name, (left - 8, y + pixel(ROW) / 2)).map_err(wrong)?;
            for (number, moment) in faulty.iter().enumerate() {
                let opacity = opacity(rate(moment, class), least..most);
                let corners = [(cell(number), y), (cell(number + 1), y + pixel(ROW) - 2)];
                area.draw(&Rectangle::new(corners, SECOND.mix(opacity).filled())).map_err(wrong)?;
            }
        }
        let bottom = top + pixel(ROW * rows) + 8;
        let under = text(14).pos(Pos::new(HPos::Center, VPos::Top));
        for (share, label) in [(0, "0 %"), (1, "25 %"), (2, "50 %"), (3, "75 %"), (4, "100 %")] {
            area.draw_text(label, &under, (cell(faulty.len() * share / 4), bottom)).map_err(wrong)?;
        }
        let axis = "time, in percent of the time until the world heals";
        area.draw_text(axis, &under, (pixel(WIDTH) / 2, bottom + 18)).map_err(wrong)?;
        let scale =
            format!("faintest: {least:.4} per second, strongest: {most:.2}, by magnitude; empty: none");
        area.draw_text(&scale, &under, (pixel(WIDTH) / 2, bottom + 38)).map_err(wrong)?;
        area.present().map_err(wrong)?;
    }
    Ok(picture)
}

/// How strong the colour of a rate is among others, by magnitude.
fn opacity(rate: f64, all: Range<f64>) -> f64 {
    let magnitudes = (all.end / all.start).ln().max(1e-9);
    if rate > 0.0 { 0.12 + 0.88 * (rate / all.start).ln() / magnitudes } else { 0.0 }
}

fn pixel(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}
