//! The drawing of charts: places are hundredths of a pixel, computed exactly and rounded once.

use std::fmt::Write;

use counterfoil_types::{Exact, Rounding};

use super::{Chart, ChartKind, Theme};
use crate::xml::escape;

/// Colours that people with any colour vision tell apart (Okabe and Ito), on light and on dark.
const COLOURS: [(&str, &str); 6] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#e69f00"),
    ("#009e73", "#3cd0a5"),
    ("#cc79a7", "#e3a6c6"),
    ("#8a6d00", "#f0e442"),
    ("#4d4d4d", "#bbbbbb"),
];
/// Strokes of the patterns, in a square of eight.
const PATTERNS: [&str; 6] =
    ["", "M0 8L8 0", "M0 4H8", "M4 0V8", "M0 0L8 8M0 8L8 0", "M2 2h1v1h-1zM6 6h1v1h-1z"];
/// Dashes of the lines.
const DASHES: [&str; 6] = ["", "6 3", "2 2", "8 3 2 3", "4 4", "1 3"];
const INK: (&str, &str) = ("#333333", "#dddddd");
const GRID: (&str, &str) = ("#d9d9d9", "#444444");
/// Most labels on the horizontal axis.
const MOST_LABELS: usize = 16;

/// The plot's place: left, top, width, height in pixels.
#[derive(Clone, Copy)]
struct Plot {
    left: i64,
    top: i64,
    width: i64,
    height: i64,
}

/// From values to places.
struct Scale {
    low: Exact,
    span: Exact,
    plot: Plot,
}

/// A number of pixels with two decimals at most.
fn px(value: &Exact) -> String {
    value.round(2, Rounding::HalfAwayFromZero).to_string()
}

fn whole(value: i64) -> Exact {
    Exact::from(value)
}

fn index(at: usize) -> Exact {
    Exact::from(u64::try_from(at).unwrap_or(u64::MAX))
}

impl Scale {
    fn y(&self, value: &Exact) -> Exact {
        let part = value.sub(&self.low).div(&self.span).unwrap_or(Exact::ZERO);
        let height = whole(self.plot.height);
        whole(self.plot.top).add(&height).sub(&part.mul(&height))
    }

    /// Left edge of the place `at` of `count`.
    fn x(&self, at: &Exact, count: usize) -> Exact {
        let width = whole(self.plot.width);
        let part = at.div(&index(count.max(1))).unwrap_or(Exact::ZERO);
        whole(self.plot.left).add(&part.mul(&width))
    }
}

/// Steps of 1, 2 or 5 times a power of ten, at most five over the span.
fn step(span: &Exact) -> Exact {
    let (ten, five) = (whole(10), whole(5));
    let mut power = Exact::ONE;
    let fits = |step: &Exact| span.div(step).is_ok_and(|count| count <= five);
    while !fits(&power) {
        power = power.mul(&ten);
    }
    while let Ok(smaller) = power.div(&ten)
        && fits(&smaller)
    {
        power = smaller;
    }
    let tenth = power.div(&ten).unwrap_or(Exact::ONE);
    [2, 5].iter().map(|by| tenth.mul(&whole(*by))).find(|step| fits(step)).unwrap_or(power)
}

fn bounds(chart: &Chart) -> (Exact, Exact) {
    let stacked: Vec<Exact>;
    let all: Vec<&Exact> = if chart.kind == ChartKind::Stacked {
        stacked = (0..chart.labels.len())
            .map(|at| chart.series.iter().filter_map(|series| series.values.get(at)).sum())
            .collect();
        stacked.iter().chain(chart.series.iter().flat_map(|series| &series.values)).collect()
    } else {
        chart.series.iter().flat_map(|series| &series.values).collect()
    };
    let zero = Exact::ZERO;
    let low = all.iter().fold(zero.clone(), |low, value| low.at_most(value));
    let high = all.iter().fold(zero, |high, value| high.at_least(value));
    (low, high)
}

/// Presentation attribute, with a class where a screen may be dark.
fn paint(theme: Theme, what: &str, class: &str, light: &str) -> String {
    match theme {
        Theme::Auto => format!("class=\"{class}\" {what}=\"{light}\""),
        Theme::Print => format!("{what}=\"{light}\""),
    }
}

pub(super) fn draw(chart: &Chart, theme: Theme, number: &dyn Fn(&Exact) -> String) -> String {
    let id = escape(&chart.id);
    let (width, height) = (i64::from(chart.width), i64::from(chart.height));
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" font-family=\"{}\" font-size=\"11\">\n<title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>\n",
        if theme == Theme::Print { "Libertinus Serif" } else { "system-ui, sans-serif" },
        escape(&chart.title),
        escape(&chart.description),
    );
    if theme == Theme::Auto {
        svg.push_str(&style(&id, chart.series.len()));
    }
    svg.push_str(&patterns(&id, theme, chart.series.len()));
    let spark = chart.kind == ChartKind::Sparkline;
    let legend = chart.series.len() > 1 && !spark;
    let plot = if spark {
        Plot { left: 1, top: 2, width: width - 2, height: height - 4 }
    } else {
        let top = if legend { 26 } else { 8 };
        Plot { left: 64, top, width: width - 72, height: height - top - 22 }
    };
    let (low, high) = bounds(chart);
    let (mut low, mut span) = (low.clone(), high.sub(&low));
    if span.is_zero() {
        span = Exact::ONE;
    }
    let ticks = step(&span);
    if !spark {
        // From a full step below to a full step above.
        let down = low.div(&ticks).map_or(Exact::ZERO, |count| count.floor());
        let up = high.div(&ticks).map_or(Exact::ONE, |count| count.ceil());
        low = down.mul(&ticks);
        span = up.sub(&down).at_least(&Exact::ONE).mul(&ticks);
    }
    let scale = Scale { low, span, plot };
    if !spark {
        axes(&mut svg, chart, theme, &scale, (&ticks, number));
    }
    match chart.kind {
        ChartKind::Bar | ChartKind::Stacked => bars(&mut svg, chart, &scale, number),
        ChartKind::Line | ChartKind::Sparkline => lines(&mut svg, chart, theme, &scale),
    }
    if legend {
        draw_legend(&mut svg, chart, theme);
    }
    svg.push_str("</svg>\n");
    svg
}

fn style(id: &str, series: usize) -> String {
    let mut css = format!(
        "<style>@media(prefers-color-scheme:dark){{.{id}-i{{fill:{}}}.{id}-g{{stroke:{}}}",
        INK.1, GRID.1
    );
    for (at, (_, dark)) in COLOURS.iter().enumerate().take(series.clamp(1, COLOURS.len())) {
        let _ = write!(css, ".{id}-f{at}{{fill:{dark}}}.{id}-s{at}{{stroke:{dark}}}");
    }
    css.push_str("}</style>\n");
    css
}

fn patterns(id: &str, theme: Theme, series: usize) -> String {
    let mut defs = String::from("<defs>\n");
    let each = COLOURS.iter().zip(PATTERNS).enumerate();
    for (at, ((light, _), strokes)) in each.take(series.clamp(1, COLOURS.len())) {
        let fill = paint(theme, "fill", &format!("{id}-f{at}"), light);
        let _ = writeln!(
            defs,
            "<pattern id=\"{id}-p{at}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\"><rect width=\"8\" height=\"8\" {fill}/><path d=\"{}\" fill=\"none\" stroke=\"#ffffff\" stroke-width=\"1.5\"/></pattern>",
            if strokes.is_empty() { "M0 0" } else { strokes },
        );
    }
    defs.push_str("</defs>\n");
    defs
}

fn axes(
    svg: &mut String,
    chart: &Chart,
    theme: Theme,
    scale: &Scale,
    (ticks, number): (&Exact, &dyn Fn(&Exact) -> String),
) {
    let id = escape(&chart.id);
    let plot = scale.plot;
    let ink = paint(theme, "fill", &format!("{id}-i"), INK.0);
    let grid = paint(theme, "stroke", &format!("{id}-g"), GRID.0);
    let high = scale.low.add(&scale.span);
    let mut at = scale.low.clone();
    while at <= high {
        let y = scale.y(&at);
        let _ = writeln!(
            svg,
            "<path d=\"M{} {}H{}\" {grid} fill=\"none\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\" {ink}>{}</text>",
            plot.left,
            px(&y),
            plot.left + plot.width,
            plot.left - 6,
            px(&y.add(&whole(4))),
            escape(&number(&at)),
        );
        at = at.add(ticks);
    }
    let count = chart.labels.len();
    let every = count.div_ceil(MOST_LABELS).max(1);
    let half = Exact::ratio(1, 2).unwrap_or(Exact::ZERO);
    for (place, label) in chart.labels.iter().enumerate().step_by(every) {
        let x = scale.x(&index(place).add(&half), count);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" {ink}>{}</text>",
            px(&x),
            plot.top + plot.height + 15,
            escape(label),
        );
    }
}

fn bars(svg: &mut String, chart: &Chart, scale: &Scale, number: &dyn Fn(&Exact) -> String) {
    let id = escape(&chart.id);
    let count = chart.labels.len();
    let stacked = chart.kind == ChartKind::Stacked;
    let beside = if stacked { 1 } else { chart.series.len().max(1) };
    // Four fifths of each place are bars.
    let part = |numerator| Exact::ratio(numerator, 10).unwrap_or(Exact::ZERO);
    let each = part(8).div(&index(beside)).unwrap_or(Exact::ZERO);
    let wide = scale.x(&each, count).sub(&scale.x(&Exact::ZERO, count));
    let mut above = vec![Exact::ZERO; count];
    let mut below = vec![Exact::ZERO; count];
    for (row, series) in chart.series.iter().enumerate() {
        let pattern = row % COLOURS.len();
        for (place, value) in series.values.iter().enumerate().take(count) {
            let base = if stacked {
                let side = if value.is_negative() { &mut below } else { &mut above };
                let Some(base) = side.get_mut(place) else { continue };
                let from = base.clone();
                *base = base.add(value);
                from
            } else {
                Exact::ZERO
            };
            let (one, other) = (scale.y(&base), scale.y(&base.add(value)));
            let (top, bottom) = (one.at_most(&other), one.at_least(&other));
            let shift = if stacked { Exact::ZERO } else { each.mul(&index(row)) };
            let x = scale.x(&index(place).add(&part(1)).add(&shift), count);
            let label = chart.labels.get(place).map_or("", String::as_str);
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"url(#{id}-p{pattern})\"><title>{}</title></rect>",
                px(&x),
                px(&top),
                px(&wide),
                px(&bottom.sub(&top)),
                escape(&format!("{label}: {} {}", number(value), series.name)),
            );
        }
    }
}

fn lines(svg: &mut String, chart: &Chart, theme: Theme, scale: &Scale) {
    let id = escape(&chart.id);
    let count = chart.labels.len();
    let half = Exact::ratio(1, 2).unwrap_or(Exact::ZERO);
    for (row, series) in chart.series.iter().enumerate() {
        let at = row % COLOURS.len();
        let (light, dash) = (COLOURS[at].0, DASHES[at]);
        let stroke = paint(theme, "stroke", &format!("{id}-s{at}"), light);
        let mut path = String::new();
        for (place, value) in series.values.iter().enumerate().take(count) {
            let x = scale.x(&index(place).add(&half), count);
            let command = if place == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{} {}", px(&x), px(&scale.y(value)));
        }
        if path.is_empty() {
            continue;
        }
        let dash =
            if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" {stroke} stroke-width=\"2\" stroke-linejoin=\"round\"{dash}/>"
        );
        let fill = paint(theme, "fill", &format!("{id}-f{at}"), light);
        // A single value is a line nobody sees.
        if let ([value], 1) = (series.values.as_slice(), count) {
            let (x, y) = (scale.x(&half, count), scale.y(value));
            let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"{}\" r=\"3\" {fill}/>", px(&x), px(&y));
        }
    }
}

fn draw_legend(svg: &mut String, chart: &Chart, theme: Theme) {
    let id = escape(&chart.id);
    let ink = paint(theme, "fill", &format!("{id}-i"), INK.0);
    let mut x = 64i64;
    for (row, series) in chart.series.iter().enumerate() {
        let pattern = row % COLOURS.len();
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"6\" width=\"12\" height=\"12\" fill=\"url(#{id}-p{pattern})\"/><text x=\"{}\" y=\"16\" {ink}>{}</text>",
            x + 16,
            escape(&series.name),
        );
        x += 32 + i64::try_from(series.name.chars().count()).unwrap_or(0) * 7;
    }
}
