"""The reader of a request: what its sender may see, over documents that the process keeps."""

from typing import Annotated

from fastapi import Depends, Request

from review.documents import Documents
from review.dossier import Reader
from review.sign_in import SignedIn, desk_of


def reader_of(request: Request, visit: SignedIn) -> Reader:
    """Reads cases for whoever sends this request."""
    documents: Documents = request.app.state.documents
    return Reader(desk_of(request), documents, visit.account)


Reading = Annotated[Reader, Depends(reader_of)]
