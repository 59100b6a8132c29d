using System.Text;

namespace Hyperscope.GuestLinux;

/// <summary>Symbols and types of kernels that were met before, a file each, named by build id.</summary>
/// <remarks>A file starts with where the entry of system calls and the notes lie from the start of the text: with LSTAR that gives the place of
/// the build id in memory, and only the right one there makes the rest count.</remarks>
internal sealed class ProfileFolder(string folder)
{
    private const uint Magic = 0x504c5348; // "HSLP"
    private const uint Version = 1;
    private const int MaxFiles = 64, MaxNotes = 1 << 16, MaxTypes = 64 << 20;
    private const string Suffix = ".profile";

    /// <summary>What a file holds.</summary>
    public sealed record Profile(KallsymsTables Tables, Btf? Btf);

    /// <summary>Looks for the kernel that runs.</summary>
    public async Task<Profile?> FindAsync(GuestReader reader, IReadOnlyList<VcpuStart> vcpus, CancellationToken cancellation)
    {
        if (!Directory.Exists(folder))
            return null;
        ulong[] entries = [.. vcpus.Select(static vcpu => vcpu.Lstar).Where(static entry => entry >= KernelFinder.RegionStart).Distinct()];
        foreach (string path in Directory.EnumerateFiles(folder, "*" + Suffix).Take(MaxFiles))
        {
            try
            {
                using var file = new BinaryReader(File.OpenRead(path), Encoding.Latin1);
                if (file.ReadUInt32() != Magic || file.ReadUInt32() != Version)
                    continue;
                ulong entry = file.ReadUInt64(), notes = file.ReadUInt64();
                int length = Math.Clamp(file.ReadInt32(), 0, MaxNotes);
                string id = file.ReadString();
                foreach (ulong text in entries.Select(address => unchecked(address - entry)))
                {
                    byte[] bytes = new byte[length];
                    int read = await reader.TryReadAsync(new Gva(text + notes), bytes, cancellation).ConfigureAwait(false);
                    if (id.Length != 0 && BuildNotes.IdIn(bytes.AsSpan(0, read)) == id)
                        return Load(file, text);
                }
            }
            catch (Exception unusable) when (unusable is IOException or FormatException or UnauthorizedAccessException or LinuxGuestException)
            {
                continue; // a damaged profile is as good as none
            }
        }

        return null;
    }

    /// <summary>Keeps a kernel for the next time. Where that is not possible the next time takes longer, and nothing else is lost.</summary>
    public void Save(LinuxGuest guest, Btf? btf, IReadOnlyList<VcpuStart> vcpus)
    {
        ulong text = guest.Layout.Text.Start.Value;
        ulong entry = vcpus.Select(static vcpu => vcpu.Lstar).FirstOrDefault(address => guest.Layout.Text.Contains(new Gva(address)));
        if (guest.BuildId.Length == 0 || entry == 0 || !guest.Symbols.TryAddressOf("__start_notes", out Gva notes)
            || !guest.Symbols.TryAddressOf("__stop_notes", out Gva end))
        {
            return;
        }

        string path = Path.Combine(folder, guest.BuildId + Suffix);
        string fresh = $"{path}.{Environment.ProcessId}.new";
        try
        {
            Directory.CreateDirectory(folder);
            using (var file = new BinaryWriter(File.Create(fresh), Encoding.Latin1))
            {
                file.Write(Magic);
                file.Write(Version);
                file.Write(entry - text);
                file.Write(notes.Value - text);
                file.Write((int)Math.Min(end.Value - notes.Value, MaxNotes));
                file.Write(guest.BuildId);
                guest.Symbols.Tables.Save(file, text);
                file.Write(btf?.Data.Length ?? 0);
                file.Write((btf?.Data ?? default).Span);
            }

            File.Move(fresh, path, overwrite: true);
        }
        catch (Exception unwritable) when (unwritable is IOException or UnauthorizedAccessException)
        {
            return;
        }
    }

    private static Profile? Load(BinaryReader file, ulong text)
    {
        if (KallsymsTables.Load(file, text) is not { } tables)
            return null;
        byte[] types = file.ReadBytes(Math.Clamp(file.ReadInt32(), 0, MaxTypes));
        return new Profile(tables, types.Length == 0 ? null : Btf.Parse(types));
    }
}
