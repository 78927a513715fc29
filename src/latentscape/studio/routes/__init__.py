"""One file for each page's requests; every module here has `router(studio) -> APIRouter` and is found by itself."""
