"""The end of a run and of a distillation: the summary and the page, with what all of it took."""

from __future__ import annotations

from dataclasses import replace

from noisystudent.artifacts.typed_json import write_result
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.findings.tables import write_tables
from noisystudent.pipeline.page_images import SourceImages
from noisystudent.reporting.page import open_page, write_page
from noisystudent.reporting.pictures import write_pictures
from noisystudent.reporting.thumbnails import keep_thumbnails
from noisystudent.results.findings import Findings
from noisystudent.results.run import RunSummary

SUMMARY = "summary.json"


def finish_run(context: RunContext, summary: RunSummary, findings: Findings | None = None) -> RunSummary:
    """Writes ``summary.json``, the tables of the findings and the page; returns the summary with the whole cost.

    Processes that work together all get it; the main process writes.
    """

    def write() -> RunSummary:
        folder = context.folder
        if findings:
            write_tables(folder, findings)
        write_result(folder / SUMMARY, summary)  # a run whose page cannot be written is finished
        sources = SourceImages.of_run(folder, known_same=not context.extensions.sources)
        record, thumbnails = open_page(folder, sources, sources.truth())
        keep_thumbnails(folder, thumbnails)
        finished = replace(summary, cost=context.costs.total())
        write_result(folder / SUMMARY, finished)
        write_page(replace(record, summary=finished), thumbnails)
        write_pictures(replace(record, summary=finished))
        return finished

    return context.engine.group.on_main(write)
