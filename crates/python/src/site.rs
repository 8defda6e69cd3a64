//! What a rule in Python sees: one sequence at one site.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use reduction_strategies::{Draw, PlanError, SequenceView};
use ssm_model::{Signal, SignalSet};

use crate::arrays::Memory;

/// What a rule may declare in `signals`, by its name in Python, and the name of the signal in this program.
const PARTS: [(&str, Part); 11] = [
    ("hidden", Part::Hidden),
    ("residual", Part::Residual),
    ("y", Part::Signal(Signal::SsmOutput)),
    ("scan_y", Part::Signal(Signal::ScanOutput)),
    ("gated_y", Part::Signal(Signal::GatedOutput)),
    ("dt", Part::Signal(Signal::Dt)),
    ("x", Part::Signal(Signal::X)),
    ("B", Part::Signal(Signal::B)),
    ("C", Part::Signal(Signal::C)),
    ("A", Part::Signal(Signal::Scan)),
    ("influence", Part::Signal(Signal::Influence)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Hidden,
    Residual,
    Signal(Signal),
}

/// Which parts a rule is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown(Vec<(&'static str, Part)>);

impl Shown {
    /// These names; the error is the name that is none.
    pub(crate) fn parse(names: &[String]) -> Result<Self, String> {
        let part = |name: &String| PARTS.into_iter().find(|(known, _)| known == name).ok_or_else(|| name.clone());
        names.iter().map(part).collect::<Result<_, _>>().map(Self)
    }

    /// All names there are.
    pub(crate) fn known() -> String {
        PARTS.map(|(name, _)| name).join(", ")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, Part)> {
        self.0.iter().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn reads_residual(&self) -> bool {
        self.0.iter().any(|(_, part)| *part == Part::Residual)
    }

    pub(crate) fn signals(&self) -> SignalSet {
        let signals = self.0.iter().filter_map(|(_, part)| match part {
            Part::Signal(signal) => Some(*signal),
            Part::Hidden | Part::Residual => None,
        });
        SignalSet::of(&signals.collect::<Vec<_>>())
    }
}

/// The live tokens of one sequence after one layer: what `docs/python.md` calls `site`.
#[pyclass(frozen, module = "ssm_reduce._native")]
pub(crate) struct Site {
    parts: Vec<(&'static str, Memory)>,
    positions: Memory,
    sizes: Memory,
    protected: Memory,
    length: usize,
    draw: Draw,
    seeded: bool,
}

impl Site {
    /// The view, with the parts that the rule declared.
    pub(crate) fn new(view: &SequenceView<'_>, shown: &Shown, seeded: bool) -> Result<Self, PlanError> {
        let part = |(name, part): &(&'static str, Part)| {
            let (matrix, owner) = match part {
                Part::Hidden => (view.hidden, view.owners.hidden),
                Part::Residual => (view.residual, view.owners.residual),
                Part::Signal(Signal::Scan) => return Ok((*name, Memory::floats(view.scan()?.a))),
                Part::Signal(signal) => (view.signal(*signal)?, view.owners.get(*signal)),
            };
            Ok((*name, Memory::matrix(matrix.values, matrix.rows, matrix.columns, owner)))
        };
        Ok(Self {
            parts: shown.0.iter().map(part).collect::<Result<_, PlanError>>()?,
            positions: Memory::numbers(view.positions),
            sizes: Memory::floats(view.sizes),
            protected: Memory::flags(view.protected),
            length: view.len(),
            draw: view.draw,
            seeded,
        })
    }
}

#[pymethods]
impl Site {
    fn __len__(&self) -> usize {
        self.length
    }

    /// Called for what is no attribute below: the declared parts.
    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        if let Some((_, memory)) = self.parts.iter().find(|(known, _)| *known == name) {
            return memory.clone().array(py);
        }
        let words = if PARTS.iter().any(|(known, _)| *known == name) {
            format!("the rule does not declare that it reads `{name}`: add it to signals=[..]")
        } else {
            format!("a site has no `{name}`; it shows {}", Shown::known())
        };
        Err(PyAttributeError::new_err(words))
    }

    #[getter]
    fn positions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.positions.clone().array(py)
    }

    #[getter]
    fn sizes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.sizes.clone().array(py)
    }

    #[getter]
    fn protected<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.protected.clone().array(py)
    }

    #[getter]
    fn layer(&self) -> usize {
        self.draw.site
    }

    #[getter]
    fn item(&self) -> u64 {
        self.draw.item
    }

    #[getter]
    fn rng<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if !self.seeded {
            return Err(PyAttributeError::new_err("the rule does not declare that it draws: add seeded=True"));
        }
        let Draw { seed, item, site } = self.draw;
        py.import("numpy.random")?.call_method1("default_rng", (vec![seed, item, site as u64],))
    }
}
