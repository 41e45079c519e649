"""The looks of the app: paper, ink and one brave colour. No font or file comes from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gradio.themes import Base, Color
from gradio.themes.utils import sizes

ASSETS = Path(__file__).parent / "assets"

SERIF = (
    "Iowan Old Style",
    "Palatino Linotype",
    "Palatino",
    "URW Palladio L",
    "P052",
    "Book Antiqua",
    "Georgia",
    "serif",
)
"""Book faces that systems bring along; the story is set in the first one found."""

SANS = ("Avenir Next", "Segoe UI", "Ubuntu", "Cantarell", "Noto Sans", "system-ui", "sans-serif")

PERSIMMON = Color(
    name="persimmon",
    c50="#fff4ee",
    c100="#ffe4d6",
    c200="#ffc6ab",
    c300="#ff9f76",
    c400="#fb7447",
    c500="#e4562a",
    c600="#c8421a",
    c700="#a43415",
    c800="#842c17",
    c900="#6c2817",
    c950="#3b1209",
)
PAPER = Color(
    name="paper",
    c50="#fdf9f0",
    c100="#f8f0e0",
    c200="#ecdfc8",
    c300="#d9c8aa",
    c400="#a8977c",
    c500="#7d705c",
    c600="#5b5145",
    c700="#423b36",
    c800="#2c2830",
    c900="#211e27",
    c950="#17151c",
)


def asset(name: str) -> str:
    """The text of a file in `ui/assets`."""
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def theme() -> Base:
    """Gradio's base theme with our colours, in light and dark."""
    base = Base(
        primary_hue=PERSIMMON,
        secondary_hue=PERSIMMON,
        neutral_hue=PAPER,
        font=SANS,
        font_mono=("ui-monospace", "monospace"),
        text_size=sizes.text_md,
        radius_size=sizes.radius_lg,
    )
    return base.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="#2b2530",
        body_text_color_dark="#f1e8d8",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="#bfb29d",
        background_fill_primary="*neutral_50",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        block_background_fill="*neutral_50",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="#3d3742",
        border_color_primary="*neutral_300",
        border_color_primary_dark="#4a4350",
        block_title_text_color="#2b2530",
        block_title_text_color_dark="#f1e8d8",
        block_title_text_weight="600",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="#bfb29d",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="#bfb29d",
        input_background_fill="#fffdf8",
        input_background_fill_dark="#1b1921",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="#4a4350",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="#a29684",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="#8f8577",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="white",
        button_primary_text_color_dark="#24130c",
        button_secondary_background_fill="#fffdf8",
        button_secondary_background_fill_hover="*primary_50",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="#3a343f",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#544c5a",
        button_secondary_text_color="#2b2530",
        button_secondary_text_color_dark="#f1e8d8",
        button_border_width="1px",
        button_large_text_weight="600",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        color_accent="*primary_600",
        shadow_drop="0 1px 2px rgb(60 40 20 / 0.06)",
        block_shadow="0 1px 2px rgb(60 40 20 / 0.05)",
        block_shadow_dark="none",
    )


def head() -> str:
    """Style sheet and page colours for the document head."""
    serif = ", ".join(f'"{face}"' if " " in face else face for face in SERIF)
    return f"""
<meta name="theme-color" media="(prefers-color-scheme: light)" content="#f8f0e0">
<meta name="theme-color" media="(prefers-color-scheme: dark)" content="#17151c">
<meta name="description" content="A few words become an illustrated storybook.">
<style>:root {{ --story-font: {serif}; }}
{asset("style.css")}
{asset("colour.css")}
{asset("film.css")}
{asset("models.css")}</style>
<script>{asset("desk.js")}
{asset("drops.js")}
{asset("kept_drawing.js")}
{asset("keyboard.js")}
{asset("restarted.js")}
{asset("spoken.js")}</script>
"""


LOGO = """
<svg class="logo" viewBox="0 0 64 64" width="56" height="56" aria-hidden="true" focusable="false">
  <path class="logo-page" d="M32 18C25 12 15 11 6 13v37c9-2 19-1 26 5z"/>
  <path class="logo-page" d="M32 18c7-6 17-7 26-5v37c-9-2-19-1-26 5z"/>
  <path class="logo-line" d="M12 22c5-.8 10-.4 14 1.6M12 30c5-.8 10-.4 14 1.6"/>
  <path class="logo-paint" d="M37 46c-3-6 2-9 5-12 2-2 5-2 6 1 1 4-4 9-11 11z"/>
  <path class="logo-brush" d="M45.500 32.500 58.500 8.500"/>
  <path class="logo-spine" d="M32 18v37"/>
</svg>
"""

HEADER = f"""
<header class="masthead">
  {LOGO}
  <div>
    <h1>Storybrush</h1>
    <p>A few words become an illustrated storybook.</p>
  </div>
  <button type="button" class="lamp" aria-label="Switch between light and dark"
    title="Light or dark">◐</button>
</header>
"""

HEADER_JS = """
const root = document.body;
let saved = null;
try {
  saved = localStorage.getItem('storybrush-lamp');
} catch (error) { /* switched off: light or dark as the system has it */ }
if (saved) root.classList.toggle('dark', saved === 'dark');
element.addEventListener('click', (event) => {
  if (!event.target.closest('.lamp')) return;
  const dark = root.classList.toggle('dark');
  try {
    localStorage.setItem('storybrush-lamp', dark ? 'dark' : 'light');
  } catch (error) { /* it is so until the page is loaded again */ }
});
"""
