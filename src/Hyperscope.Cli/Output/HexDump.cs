using System.Text;

namespace Hyperscope.Cli.Output;

/// <summary>Memory for people: sixteen bytes a line, at most 80 columns.</summary>
internal static class HexDump
{
    public static void Write(TextWriter output, ulong address, ReadOnlySpan<byte> bytes)
    {
        var line = new StringBuilder();
        for (int start = 0; start < bytes.Length; start += 16)
        {
            ReadOnlySpan<byte> row = bytes[start..Math.Min(start + 16, bytes.Length)];
            line.Clear().Append(CultureInfo.InvariantCulture, $"{address + (ulong)start:x16} ");
            for (int i = 0; i < 16; i++)
            {
                if (i == 8)
                    line.Append(' ');
                line.Append(i < row.Length ? $"{row[i]:x2}" : "  ");
                if (i is not (7 or 15) && i % 2 == 1)
                    line.Append(' ');
            }

            line.Append("  ");
            foreach (byte value in row)
                line.Append(value is >= 0x20 and < 0x7F ? (char)value : '.');
            output.WriteLine(line.ToString().TrimEnd());
        }
    }
}
