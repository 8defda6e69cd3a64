#!/usr/bin/env bash
# Builds a two-page LaTeX paper from a results folder: tools/paper/build.sh RESULTS acl|neurips OUT [SELECT]. Figures and tables of RESULTS are
# drawn again in a copy below OUT, for this paper and with `sweep report --select SELECT`. SWEEP names another `sweep`. Needs pdflatex with
# booktabs, siunitx and times (Debian: texlive-latex-recommended, texlive-science); as root of a Debian it installs what is missing.
# Fails where a box is overfull, a reference is missing, or there are not two pages.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
results=$(realpath "$1") paper=$2 out=$(mkdir -p "$3" && realpath "$3") select=${4:-}
here=$(cd "$(dirname "$0")" && pwd)
case $paper in
acl) class='\documentclass[10pt,twocolumn]{article}' text='textwidth=6.3in,columnsep=0.24in' float='table*' wide='-wide' ;;
neurips) class='\documentclass[10pt]{article}' text='textwidth=5.5in' float='table' wide='' ;;
*) echo "no paper is called $paper; there are acl and neurips" >&2 && exit 2 ;;
esac
if ! command -v pdflatex >/dev/null || ! kpsewhich siunitx.sty >/dev/null; then
    packages=(texlive-latex-base texlive-latex-recommended texlive-science)
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "install ${packages[*]}" >&2
        exit 1
    fi
    apt-get install -y -qq --no-install-recommends "${packages[@]}" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; }
fi
rm -rf "$out/results"
cp -r "$results" "$out/results"
if [ -z "${SWEEP:-}" ]; then
    SWEEP="cargo run --release --locked --quiet --bin sweep --"
fi
arguments=(report "$out/results" --paper "$paper")
[ -z "$select" ] || arguments+=(--select "$select")
(cd "$here/../.." && $SWEEP "${arguments[@]}" >/dev/null)

# The first figure and the first table of each kind that there are, most telling first.
first() { # FOLDER ENDING NAME...
    local folder=$1 ending=$2 name file
    shift 2
    for name in "$@"; do
        for file in "$out/results/$folder/"$name"$ending"; do
            # Tables of two columns are chosen by their ending alone.
            case $file in *-wide.tex) [ "$ending" = -wide.tex ] || continue ;; esac
            [ -e "$file" ] && basename "$file" "$ending" && return
        done
    done
    return 0
}
figures=("$(first figures .pdf claim 'accuracy_vs_flops_*_context' 'accuracy_vs_flops_*' 'loss_vs_length_*' 'tasks_vs_flops_*')")
figures+=("$(first figures .pdf 'added_loss_*' 'protocol_comparison_*' 'differences_*_context' 'probe_*')")
main=$(first tables "$wide.tex" 'main_*_context' 'main_*' claim)
small=
# A column has room for one more: another model under the same protocol.
if [ "$paper" = acl ]; then
    for file in "$out"/results/tables/main_*_context.tex; do
        [ ! -e "$file" ] || [ "$(basename "$file" .tex)" = "$main" ] || small=$(basename "$file" .tex)
    done
fi
question=$(sed -n 's/^\*\*Question\.\*\* //p' "$out/results/report.md" | head -1)
{
    echo "$class"
    echo '\usepackage[utf8]{inputenc}'
    echo '\usepackage[T1]{fontenc}'
    echo '\usepackage{times,graphicx,booktabs,siunitx,array,textcomp}'
    echo "\\usepackage[$text,textheight=9.3in]{geometry}"
    echo '\graphicspath{{results/figures/}}'
    echo '\input{results/tables/captions}'
    # Floats may fill pages.
    echo '\renewcommand{\topfraction}{0.98}\renewcommand{\dbltopfraction}{0.98}\renewcommand{\bottomfraction}{0.98}'
    echo '\renewcommand{\textfraction}{0.02}\renewcommand{\floatpagefraction}{0.9}\setcounter{topnumber}{4}\setcounter{totalnumber}{6}'
    echo '\begin{document}'
    echo "\\title{\\detokenize{$(basename "$results")}}\\author{A report of \\texttt{sweep}}\\date{}\\maketitle"
    echo '\section*{Question}'
    echo "\\detokenize{$question}"
    echo '\section*{Answer}'
    printf 'Figure~\\ref{fig:0} shows the answer, Table~\\ref{tab:%s} its numbers.' "${main//_/-}"
    echo ' Every number is read from recorded cells; the JSON beside each figure names them.'
    figure() {
        [ -z "$2" ] ||
            echo "\\begin{figure}[!htbp]\\centering\\includegraphics{$2}\\caption{\\sweepcaption{$2}}\\label{fig:$1}\\end{figure}"
    }
    figure 0 "${figures[0]}"
    echo "\\begin{$float}[!htbp]\\caption{\\sweepcaption{$main}}\\label{tab:${main//_/-}}\\input{results/tables/$main$wide}\\end{$float}"
    figure 1 "${figures[1]}"
    if [ -n "$small" ]; then
        echo "\\begin{table}[!htbp]\\caption{\\sweepcaption{$small}}\\label{tab:${small//_/-}}\\input{results/tables/$small}\\end{table}"
    fi
    echo '\end{document}'
} >"$out/paper.tex"
cd "$out"
compile() { # NAME
    for _ in 1 2; do
        pdflatex -interaction=nonstopmode -halt-on-error "$1.tex" >"$1.out" || { tail -30 "$1.out" >&2 && exit 1; }
    done
    if grep -E '^Overfull|undefined' "$1.log" >&2; then
        echo "$1.tex has boxes that are too wide or references that are missing" >&2
        exit 1
    fi
}
compile paper
# Every table alone, in the width that it is made for.
all_tables() { # NAME WIDTH FILE...
    local name=$1 width=$2 file
    shift 2
    {
        echo '\documentclass[10pt]{article}\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}\usepackage{times,booktabs,siunitx,array,textcomp}'
        echo "\\usepackage[textwidth=$width,textheight=9.3in]{geometry}\\begin{document}"
        for file in "$@"; do
            echo "\\noindent\\input{$file}\\par\\bigskip"
        done
        echo '\end{document}'
    } >"$name.tex"
    compile "$name"
}
mapfile -t columns < <(cd results/tables && ls -- *.tex | grep -v -e '-wide.tex$' -e '^captions.tex$')
all_tables tables "$([ "$paper" = acl ] && echo 3.03in || echo 5.5in)" "${columns[@]/#/results/tables/}"
if [ "$paper" = acl ]; then
    mapfile -t columns < <(cd results/tables && ls -- *-wide.tex)
    all_tables tables-wide 6.3in "${columns[@]/#/results/tables/}"
fi
pages=$(sed -n 's/^Output written on paper.pdf (\([0-9]*\) page.*/\1/p' paper.log)
if [ "$pages" != 2 ]; then
    echo "paper.pdf has $pages pages and not 2: choose fewer rules or reductions, for example dense,random,utrc@20" >&2
    exit 1
fi
echo "$out/paper.pdf"
