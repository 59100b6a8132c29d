using System.Reflection;

namespace Hyperscope.Kvmi.Tests;

/// <summary>Asks every struct of a message whether it is well formed.</summary>
internal static class WellFormed
{
    public static bool Check(Vector vector, byte[] bytes)
    {
        foreach (WirePart part in WireParts.Of(vector))
        {
            int size = WireLayout.SizeOf(part.Type);
            for (int index = 0; index < part.Repeat; index++)
            {
                int offset = part.Offset + (index * size);
                if (offset + size > bytes.Length || part.Type.IsPrimitive)
                    break;
                var one = typeof(WellFormed).GetMethod(nameof(One), BindingFlags.Static | BindingFlags.NonPublic)!
                    .MakeGenericMethod(part.Type).CreateDelegate<Func<byte[], int, bool>>();
                if (!one(bytes, offset))
                    return false;
            }
        }

        return true;
    }

    private static bool One<T>(byte[] bytes, int offset)
        where T : unmanaged
    {
        PropertyInfo? property = typeof(T).GetProperty("IsWellFormed");
        return property is null || (bool)property.GetValue(Message.Read<T>(bytes.AsSpan(offset)))!;
    }
}
