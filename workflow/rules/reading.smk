# Config files are read strictly first: Snakemake's own reader loses the first of two equal keys and takes 1:30 for 90.
import sys

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from oodgrid.errors import printed

DEBUG = "oodgrid check CONFIG --debug shows where"

try:
    from oodgrid.config import check_config_files

    check_config_files(workflow.configfiles or ["config.yaml"])
except BaseException as error:
    sys.exit(printed(error, DEBUG))
