// The files of folders that were dropped on the page.

/** All files below these entries, with their paths. */
export async function filesIn(entries: readonly FileSystemEntry[]): Promise<[path: string, file: File][]> {
  const found = await Promise.all(
    entries.map(async (entry): Promise<[string, File][]> => {
      if (isFolder(entry)) return filesIn(await children(entry));
      if (!isFile(entry)) return [];
      return [[entry.fullPath, await new Promise<File>((resolve, reject) => entry.file(resolve, reject))]];
    }),
  );
  return found.flat();
}

// Browsers do not agree on the names of the classes.
const isFolder = (entry: FileSystemEntry): entry is FileSystemDirectoryEntry => entry.isDirectory;
const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;

/** A reader gives at most a hundred entries at a time, and none at the end. */
async function children(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
  }
}
