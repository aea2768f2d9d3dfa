//! Charts as SVG, made from exact numbers without a float: the same input is the same text. Each has
//! a title and a description for whoever does not see it, and a pattern beside each colour.

mod draw;

use counterfoil_types::Exact;

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartKind {
    /// A bar for each value; of several series beside each other.
    Bar,
    /// A line for each series.
    Line,
    /// Bars of the series on top of each other.
    Stacked,
    /// A line without axes, as large as a word.
    Sparkline,
}

/// Where it will be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// On a screen, which says itself whether it is light or dark.
    Auto,
    /// On paper: dark on light.
    Print,
}

/// A row of values.
#[derive(Clone, Debug)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// One for each label.
    pub values: Vec<Exact>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// How values are drawn.
    pub kind: ChartKind,
    /// What it shows, in a line.
    pub title: String,
    /// What one sees in it, in a sentence.
    pub description: String,
    /// Names of the places on the horizontal axis.
    pub labels: Vec<String>,
    /// What is drawn.
    pub series: Vec<Series>,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Makes its names unique on a page: letters and digits.
    pub id: String,
}

impl Chart {
    /// The SVG; `number` writes the values of axes and tips.
    #[must_use]
    pub fn svg(&self, theme: Theme, number: &dyn Fn(&Exact) -> String) -> String {
        draw::draw(self, theme, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(kind: ChartKind, series: &[&[&str]]) -> Chart {
        let values =
            |texts: &&[&str]| texts.iter().map(|text| Exact::parse(text).unwrap()).collect();
        Chart {
            kind,
            title: "Calls & <more>".into(),
            description: "Each day of a week".into(),
            labels: (1..=series.first().map_or(0, |s| s.len()))
                .map(|day| day.to_string())
                .collect(),
            series: (1..)
                .zip(series)
                .map(|(n, s)| Series { name: format!("series {n}"), values: values(s) })
                .collect(),
            width: 400,
            height: 160,
            id: "c1".into(),
        }
    }

    fn plain(value: &Exact) -> String {
        value.to_string()
    }

    #[test]
    fn each_kind_is_drawn_the_same_every_time() {
        let week: &[&str] = &["3", "5.5", "0", "12", "7", "-2", "4"];
        let other: &[&str] = &["1", "2", "3", "4", "5", "6", "7"];
        for (name, kind, series) in [
            ("bar", ChartKind::Bar, vec![week]),
            ("bars", ChartKind::Bar, vec![week, other]),
            ("line", ChartKind::Line, vec![week, other]),
            ("stacked", ChartKind::Stacked, vec![other, other]),
            ("sparkline", ChartKind::Sparkline, vec![week]),
        ] {
            let chart = chart(kind, &series);
            let svg = chart.svg(Theme::Auto, &plain);
            assert_eq!(svg, chart.svg(Theme::Auto, &plain));
            insta::assert_snapshot!(name, svg);
        }
    }

    #[test]
    fn empty_flat_and_huge_series_are_drawn() {
        for series in [&[][..], &["0", "0"], &["5"], &["0.000001", "99999999999999999999"]] {
            for kind in [ChartKind::Bar, ChartKind::Line, ChartKind::Stacked, ChartKind::Sparkline]
            {
                let svg = chart(kind, &[series]).svg(Theme::Print, &plain);
                assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
                assert!(!svg.contains("NaN") && !svg.contains('/') || svg.contains("</svg>"));
            }
        }
        let none = Chart { series: Vec::new(), ..chart(ChartKind::Bar, &[]) };
        assert!(none.svg(Theme::Print, &plain).contains("<title"));
    }

    #[test]
    fn whoever_does_not_see_colours_or_the_chart_reads_it_all_the_same() {
        let week: &[&str] = &["3", "5.5"];
        let svg = chart(ChartKind::Stacked, &[week, week]).svg(Theme::Auto, &plain);
        assert!(svg.contains("role=\"img\"") && svg.contains("aria-labelledby=\"c1-t c1-d\""));
        assert!(svg.contains("Calls &amp; &lt;more&gt;</title>") && svg.contains("</desc>"));
        assert!(svg.contains("id=\"c1-p0\"") && svg.contains("id=\"c1-p1\""), "a pattern each");
        assert!(svg.contains("prefers-color-scheme:dark"));
        let print = chart(ChartKind::Stacked, &[week, week]).svg(Theme::Print, &plain);
        assert!(!print.contains("<style"), "paper has no dark mode");
    }
}
